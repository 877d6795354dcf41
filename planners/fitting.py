"""Find the largest patch whose training step fits into memory, then batch and features for the available time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoseg.errors import PlanError
from autoseg.learning.costs.memory import batch_cost
from autoseg.learning.step_cost import BatchCost
from autoseg.networks.planning import USUAL_FEATURES, NetworkSpec
from autoseg.plan.schema import Configuration, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.patches import Candidate
from autoseg.planners.recipe import ENOUGH_ITERATIONS, RESERVE, Speed, affordable_batch, speed_of
from autoseg.planners.topology import pooling_reasons
from autoseg.system.memory import format_bytes
from autoseg.system.units import format_duration, times

FIRST_FEATURES = (USUAL_FEATURES, 16, 8)
"""Features of the first stage: first nnU-Net's, then fewer if time or memory is short."""
FEW_ITERATIONS = {32: 1500}
"""Number of steps below which the features are halved, by the current features: a network with 16 instead of 32
features makes three times as many steps and learns more. From 16 to 8 features, the number of steps hardly grows
(benchmarks/README.md); this is a last resort."""
MORE_ITERATIONS = 1.75
"""Smallest gain in steps for which the features are halved. A U-Net with 1.3 times the steps got worse, and DeepMedic
with 1.66 times, whose small segments gain less speed; ConvMixer with 2.4 times got better (benchmarks/README.md)."""
SENSIBLE_ITERATIONS = 20
"""Smallest number of steps for a useful training; below it, planning fails."""
HARDLY_ANY_ITERATIONS = 100
"""Number of steps below which 16 features are halved, after the patch has been reduced to its minimum."""
FEWEST_ITERATIONS = 500
"""Number of steps below which a network learns very little; a smaller patch then allows more steps."""
SMALLEST_FOR_TIME = {2: 128**2, 3: 32**3}
"""Smallest patch in voxels that is chosen to save time, by dimension; smaller patches have too little context."""
SMALLEST_BATCH = 2
"""Smallest batch that must fit into memory (nnU-Net): a larger patch has priority over a larger batch."""
FEWEST_SAMPLES = {2: 8, 3: 2}
"""Smallest batch that is chosen to save time, by dimension; slices have few voxels, and smaller batches are noisy."""
FEWEST_LEARNED = 7_290
"""Smallest number of output voxels of a batch that is chosen to save time: DeepMedic's ten segments of 9³.

In the same time, 316 steps with ten segments reached a Dice of 0.80, 1,210 steps with two segments 0.72
(benchmarks/README.md).
"""
DATASET_SHARE = 0.05
"""Largest share of all labelled voxels of the dataset in a batch: a larger batch repeats each case too often (nnU-Net).
"""


@dataclass(frozen=True)
class Fitted:
    """A configuration that fits, the cost of its training step, and the reasons for it."""

    configuration: Configuration
    cost: BatchCost
    reasons: tuple[str, ...]
    first_features: int
    candidate: Candidate
    steps: int | None = None
    """Steps of a fold that fit into the time budget; None without a time budget."""
    seconds: float = 0.0
    """Seconds of a step; 0 without a time budget."""
    validation: float = 0.0
    """Seconds of the fold's validation; 0 without a time budget."""


@dataclass(frozen=True)
class _Search:
    """Constant inputs of the search for patch, features and batch."""

    draft: Configuration
    request: PlanRequest
    network: NetworkSpec
    most: int | None
    """Largest batch; None: as many samples as fit."""

    def drafted(self, candidate: Candidate, first_features: int) -> Configuration:
        """Return the draft with a patch and its network."""
        spec = self.network(self.draft.dimension, candidate.topology, first_features)
        return replace(self.draft, patch_size=candidate.patch, network=spec)


def fit(
    draft: Configuration,
    patches: Sequence[Candidate],
    request: PlanRequest,
    network: NetworkSpec,
    *,
    most: int | None = None,
    widest: int = FIRST_FEATURES[0],
) -> Fitted:
    """Find the largest patch whose step fits into memory, then a batch and features that suit the time.

    The batch has at most ``most`` samples, and the first stage at most ``widest`` features.
    Raises :class:`PlanError` with the smallest sufficient memory if nothing fits.
    """
    search, tried, found = _Search(draft, request, network, most), [], None
    for first_features in (features for features in FIRST_FEATURES if features <= widest):
        fitted = _fit(search, patches, first_features)
        if fitted is None:
            tried.append(f"{first_features} features: even the smallest patch needs more than the available memory")
            continue
        if found is not None and MORE_ITERATIONS * fitted.seconds > found.seconds:
            tried.append(f"{first_features} features: {fitted.steps:,} steps, not {MORE_ITERATIONS:g} times as many")
            break
        found, few = fitted, FEW_ITERATIONS.get(first_features, 0)
        if fitted.steps is None or fitted.steps >= few:
            break
        tried.append(f"{first_features} features: {fitted.steps:,} steps fit into the time, fewer than {few:,}")
    if found is None:
        raise _too_little(search, patches[-1])
    return replace(found, reasons=(*tried, *found.reasons))


def fit_smaller(
    fitted: Fitted, patches: Sequence[Candidate], request: PlanRequest, network: NetworkSpec, *, most: int | None = None
) -> Fitted:
    """Shrink the patch until :data:`FEWEST_ITERATIONS` fit into the time, if this allows more steps."""
    search = _Search(replace(fitted.configuration, batch_size=SMALLEST_BATCH), request, network, most)
    patch, steps = fitted.configuration.patch_size, fitted.steps or 0
    smaller = [candidate for candidate in patches if candidate.voxels <= voxels_in_time(fitted)]
    found = _fit(search, smaller, fitted.first_features) if smaller else None
    if found is None or (found.steps or 0) <= steps:
        # Small patches with a margin need larger batches, which may take longer.
        return fitted
    reason = f"patch {times(patch)}: {steps:,} steps fit into the time, fewer than {FEWEST_ITERATIONS:,}"
    return replace(found, reasons=(reason, *found.reasons))


def fit_narrower(fitted: Fitted, request: PlanRequest, network: NetworkSpec, *, most: int | None = None) -> Fitted:
    """Halve the features again if very few steps fit into the time, and if this allows many more steps."""
    configuration, steps = fitted.configuration, fitted.steps or 0
    fewer = [features for features in FIRST_FEATURES if features < fitted.first_features]
    if steps >= HARDLY_ANY_ITERATIONS or not fewer:
        return fitted
    draft = replace(configuration, batch_size=SMALLEST_BATCH)
    found = _fit(_Search(draft, request, network, most), [fitted.candidate], fewer[0])
    if found is None or MORE_ITERATIONS * found.seconds > fitted.seconds:
        return fitted
    reason = (
        f"{fitted.first_features} features: {steps:,} steps fit into the time, fewer than {HARDLY_ANY_ITERATIONS:,}"
    )
    return replace(found, reasons=(*fitted.reasons, reason, *found.reasons[-2:]))


def check_time(fitted: Fitted) -> Fitted:
    """Return ``fitted``; raise :class:`PlanError` with the necessary time if the time is too short for any network."""
    budget = fitted.configuration.training.time_budget
    if fitted.steps is None or budget is None or fitted.steps >= SENSIBLE_ITERATIONS:
        return fitted
    # Validation and other fixed costs do not depend on the number of steps.
    needed = budget + (SENSIBLE_ITERATIONS - fitted.steps + 1) * fitted.seconds / RESERVE + fitted.validation
    raise PlanError(
        f"time budget: found {format_duration(budget)}, enough for {fitted.steps} steps of the smallest network, "
        f"expected at least {format_duration(math.ceil(needed))}; give more time, or use another --planner"
    )


def voxels_in_time(fitted: Fitted) -> float:
    """Return the patch size in voxels with which :data:`FEWEST_ITERATIONS` fit into the time, with a lower bound."""
    steps, size = fitted.steps or 0, voxels(fitted.configuration.patch_size)
    return max(SMALLEST_FOR_TIME[fitted.configuration.dimension], size * steps / FEWEST_ITERATIONS)


def _fit(search: _Search, patches: Sequence[Candidate], first_features: int) -> Fitted | None:
    """Choose the first patch whose smallest batch fits into memory, and its batch; None if no patch fits.

    Memory decreases along the list, roughly in proportion to the voxels: a search needs to count only few patches.
    """
    memory, smallest = search.request.resources.memory, search.draft.batch_size
    costs: dict[int, BatchCost] = {}
    low, high, guess = -1, len(patches), 0
    while high - low > 1:
        costs[guess] = batch_cost(search.drafted(patches[guess], first_features), search.request.dataset)
        peak = costs[guess].peak_bytes(smallest)
        low, high = (low, guess) if peak <= memory else (guess, high)
        guess = _next_guess(patches, patches[guess].voxels * memory / peak, low, high)
    if high == len(patches):
        return None
    reasons = [f"patch {times(patches[i].patch)}: {patches[i].origin}" for i in range(high + 1)]
    counted = [
        f"counted: {times(patches[i].patch)} needs {format_bytes(cost.peak_bytes(smallest))} of {format_bytes(memory)} "
        f"with a batch of {smallest}"
        for i, cost in sorted(costs.items())
    ]
    drafted = search.drafted(patches[high], first_features)
    pooling = _pooling_reasons(patches[high], drafted)
    fitted = Fitted(drafted, costs[high], (*reasons, *counted, *pooling), first_features, patches[high])
    return _with_batch(fitted, search)


def _pooling_reasons(candidate: Candidate, drafted: Configuration) -> tuple[str, ...]:
    """Return the reasons of a topology; empty if the network does not use its strides."""
    if drafted.network.get("strides") != [list(stride) for stride in candidate.topology.strides]:
        return ()
    return pooling_reasons(candidate.topology, candidate.patch, drafted.patch_spacing)


def _next_guess(patches: Sequence[Candidate], voxels_that_fit: float, low: int, high: int) -> int:
    """Return the index of the first patch of at most ``voxels_that_fit``, strictly between ``low`` and ``high``."""
    guess = next((i for i, candidate in enumerate(patches) if candidate.voxels <= voxels_that_fit), len(patches))
    return min(max(guess, low + 1), max(high - 1, 0))


def _with_batch(fitted: Fitted, search: _Search) -> Fitted:
    """Choose the largest batch that fits into memory, into 5 % of the dataset's voxels, and into the time."""
    draft, request, candidate = fitted.configuration, search.request, fitted.candidate
    speed = speed_of(draft, fitted.cost, request)
    by_memory = fitted.cost.largest_batch(request.resources.memory)
    cases = len(request.fingerprint.labelled)
    by_data = round(DATASET_SHARE * voxels(draft.median_shape) * cases / candidate.learned_voxels)
    fewest = max(FEWEST_SAMPLES[draft.dimension], math.ceil(FEWEST_LEARNED / candidate.learned_voxels))
    bounds = [by_memory, max(by_data, fewest if speed else 0), *([search.most] if search.most is not None else [])]
    largest = max(SMALLEST_BATCH, min(bounds))
    batch = affordable_batch(largest, min(fewest, largest), speed)
    return replace(
        fitted,
        configuration=replace(draft, batch_size=batch),
        reasons=(
            *fitted.reasons,
            f"batch: {by_memory} fit into memory, {DATASET_SHARE:.0%} of the dataset's voxels are {by_data}"
            + (f", this planner uses at most {search.most}" if search.most else ""),
            *_time_reasons(draft, batch, speed, request.resources.device),
        ),
        steps=speed.iterations(batch) if speed else None,
        seconds=speed.seconds(batch) if speed else 0.0,
        validation=speed.validation if speed else 0.0,
    )


def _time_reasons(draft: Configuration, batch: int, speed: Speed | None, device: str) -> tuple[str, ...]:
    if draft.training.time_budget is None:
        return ()
    if speed is None:
        return (f"this machine has no {device}, so its speed could not be measured",)
    return (
        f"batch {batch}: about {speed.seconds(batch):.2g} s a step, {speed.iterations(batch):,} steps in "
        f"{format_duration(speed.time_budget)}; the largest batch is used from {ENOUGH_ITERATIONS:,} steps on",
    )


def _too_little(search: _Search, smallest: Candidate) -> PlanError:
    drafted = search.drafted(smallest, FIRST_FEATURES[-1])
    needed = batch_cost(drafted, search.request.dataset).peak_bytes(drafted.batch_size)
    return PlanError(
        f"memory: found {format_bytes(search.request.resources.memory)}, expected at least "
        f"{format_bytes(needed * 1.1)} for the smallest patch; free some memory or train on another device"
    )
