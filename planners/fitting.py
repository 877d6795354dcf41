"""What fits: the largest patch whose training step the memory holds, then batch and features for the time at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autoseg.errors import PlanError
from autoseg.memory import format_bytes
from autoseg.plan import Component, Configuration, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.memory import BatchCost, batch_cost
from autoseg.planners.patches import Candidate
from autoseg.planners.recipe import ENOUGH_ITERATIONS, RESERVE, Speed, affordable_batch, speed_of
from autoseg.planners.topology import Topology, pooling_reasons
from autoseg.planners.wording import times
from autoseg.units import format_duration

FIRST_FEATURES = (32, 16, 8)
"""Features of the first stage, nnU-Net's first; fewer where time or memory is short."""
FEW_ITERATIONS = {32: 1500}
"""Steps below which a network with half the features learns more: it makes three times as many where 32 are halved, but
hardly more where 16 are (benchmarks/README.md). Those are halved only where nothing else helps."""
MORE_ITERATIONS = 1.75
"""Times as many steps that half the features have to make. With 1.3 times as many a U-Net reached less, with 1.66 times
DeepMedic, whose small segments get less quick by them; ConvMixer reached more with 2.4 (benchmarks/README.md)."""
SENSIBLE_ITERATIONS = 20
"""Steps below which there is no sense in training at all."""
HARDLY_ANY_ITERATIONS = 100
"""Steps below which 16 features are halved, when the patch is as small as it may be."""
FEWEST_ITERATIONS = 500
"""Steps below which a network learns next to nothing: a smaller patch then makes more of them."""
SMALLEST_FOR_TIME = {2: 128**2, 3: 32**3}
"""Voxels below which no patch is shrunk for lack of time: it would see too little."""
SMALLEST_BATCH = 2
"""Samples for which the memory must do, as in nnU-Net: a larger patch comes before a larger batch."""
FEWEST_SAMPLES = {2: 8, 3: 2}
"""Samples below which a short time does not press the batch; slices hold so little that fewer would be all noise."""
FEWEST_LEARNED = 7_290
"""Voxels to learn below which it does not either: DeepMedic's ten segments of 9³.

In the same time, 316 steps of ten reached a Dice of 0.80 and 1,210 steps of two 0.72 (benchmarks/README.md).
"""
DATASET_SHARE = 0.05
"""Share of all voxels that a batch may hold: more would show each case too often in a step (nnU-Net)."""

NetworkSpec = Callable[[int, Topology, int], Component]
"""Makes a network's part of the plan from the number of spatial axes, the topology and the first stage's features."""


@dataclass(frozen=True)
class Fitted:
    """A configuration that fits, what its training step costs, and how it was found."""

    configuration: Configuration
    cost: BatchCost
    reasons: tuple[str, ...]
    first_features: int
    candidate: Candidate
    steps: int | None = None
    """Steps that the time leaves for a fold; None where none is set."""
    seconds: float = 0.0
    """Of a step, where time is set."""
    validation: float = 0.0
    """Seconds of the fold's validation, where time is set."""


@dataclass(frozen=True)
class _Search:
    """What stays the same while patch, features and batch are looked for."""

    draft: Configuration
    request: PlanRequest
    network: NetworkSpec
    most: int | None
    """Samples that a batch may have; None: as many as fit."""

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
    """Give ``draft`` the largest patch whose step fits the memory, then a batch and features that suit the time.

    The batch has ``most`` samples at most, where that is given, and its first stage ``widest`` features.
    Raises :class:`PlanError` that names the smallest memory that would do where nothing fits.
    """
    search, tried, found = _Search(draft, request, network, most), [], None
    for first_features in (features for features in FIRST_FEATURES if features <= widest):
        fitted = _fit(search, patches, first_features)
        if fitted is None:
            tried.append(f"{first_features} features: even the smallest patch needs more memory than there is")
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
    """Shrink the patch as much as the time lacks for :data:`FEWEST_ITERATIONS`, if that makes more steps."""
    search = _Search(replace(fitted.configuration, batch_size=SMALLEST_BATCH), request, network, most)
    patch, steps = fitted.configuration.patch_size, fitted.steps or 0
    smaller = [candidate for candidate in patches if candidate.voxels <= voxels_in_time(fitted)]
    found = _fit(search, smaller, fitted.first_features) if smaller else None
    if found is None or (found.steps or 0) <= steps:
        # Of small patches with a margin a batch has so many that it takes longer.
        return fitted
    reason = f"patch {times(patch)}: {steps:,} steps fit into the time, fewer than {FEWEST_ITERATIONS:,}"
    return replace(found, reasons=(reason, *found.reasons))


def fit_narrower(fitted: Fitted, request: PlanRequest, network: NetworkSpec, *, most: int | None = None) -> Fitted:
    """Halve the features once more where hardly any steps fit into the time, if that makes many more of them."""
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
    """Return what fits; raise :class:`PlanError` with what would where the time is too short for any network."""
    budget = fitted.configuration.training.time_budget
    if fitted.steps is None or budget is None or fitted.steps >= SENSIBLE_ITERATIONS:
        return fitted
    # What is not spent on steps, validation above all, is needed whatever their number.
    needed = budget + (SENSIBLE_ITERATIONS - fitted.steps + 1) * fitted.seconds / RESERVE + fitted.validation
    raise PlanError(
        f"time budget: found {format_duration(budget)}, in which {fitted.steps} steps of the smallest network fit, "
        f"expected at least {format_duration(math.ceil(needed))}; give more time, or another --planner"
    )


def voxels_in_time(fitted: Fitted) -> float:
    """Return the voxels of a patch of which :data:`FEWEST_ITERATIONS` fit into the time; no fewer than make sense."""
    steps, size = fitted.steps or 0, voxels(fitted.configuration.patch_size)
    return max(SMALLEST_FOR_TIME[fitted.configuration.dimension], size * steps / FEWEST_ITERATIONS)


def _fit(search: _Search, patches: Sequence[Candidate], first_features: int) -> Fitted | None:
    """Take the first patch whose smallest batch fits the memory, and its batch; None where none fits.

    Memory falls along the list, about as the voxels do, so that few of the patches need to be counted.
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
    """Give the reasons of a topology, where the network follows it."""
    if drafted.network.get("strides") != [list(stride) for stride in candidate.topology.strides]:
        return ()
    return pooling_reasons(candidate.topology, candidate.patch, drafted.patch_spacing)


def _next_guess(patches: Sequence[Candidate], voxels_that_fit: float, low: int, high: int) -> int:
    """Return the first patch of at most ``voxels_that_fit``, kept strictly between two that are known."""
    guess = next((i for i, candidate in enumerate(patches) if candidate.voxels <= voxels_that_fit), len(patches))
    return min(max(guess, low + 1), max(high - 1, 0))


def _with_batch(fitted: Fitted, search: _Search) -> Fitted:
    """Choose the batch: what the memory holds, no more than 5 % of the data, no more than the time allows."""
    draft, request, candidate = fitted.configuration, search.request, fitted.candidate
    speed = speed_of(draft, fitted.cost, request)
    by_memory = fitted.cost.largest_batch(request.resources.memory)
    cases = len(request.fingerprint.cases)
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
            f"batch: the memory holds {by_memory}, {DATASET_SHARE:.0%} of the dataset's voxels are {by_data}"
            + (f", a batch has {search.most} at most" if search.most else ""),
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
        return (f"{device} is not on this machine, so that its speed could not be measured",)
    return (
        f"batch {batch}: about {speed.seconds(batch):.2g} s a step, {speed.iterations(batch):,} steps in "
        f"{format_duration(speed.time_budget)}; {ENOUGH_ITERATIONS:,} would be enough for the largest batch",
    )


def _too_little(search: _Search, smallest: Candidate) -> PlanError:
    drafted = search.drafted(smallest, FIRST_FEATURES[-1])
    needed = batch_cost(drafted, search.request.dataset).peak_bytes(drafted.batch_size)
    return PlanError(
        f"memory: found {format_bytes(search.request.resources.memory)}, expected at least "
        f"{format_bytes(needed * 1.1)}, which the smallest patch needs; free some memory or train on another device"
    )
