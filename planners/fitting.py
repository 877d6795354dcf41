"""What fits: the largest patch whose training step the memory holds, then batch and features for the time at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autoseg.errors import PlanError
from autoseg.memory import format_bytes
from autoseg.plan import Component, Configuration, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.memory import BatchCost, batch_cost
from autoseg.planners.patches import Candidate
from autoseg.planners.recipe import ENOUGH_ITERATIONS, Speed, affordable_batch, speed_of
from autoseg.planners.topology import Topology, pooling_reasons
from autoseg.planners.wording import times

FIRST_FEATURES = (32, 16, 8)
"""Features of the first stage, nnU-Net's first; fewer where time or memory is short."""
FEW_ITERATIONS = 500
"""Steps below which a network with half the features, and so three to four times the steps, learns more."""
SMALLEST_BATCH = 2
"""Samples for which the memory must do, as in nnU-Net: a larger patch comes before a larger batch."""
FEWEST_SAMPLES = {2: 8, 3: 2}
"""Samples below which a short time does not press the batch; slices hold so little that fewer would be all noise."""
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


def fit(draft: Configuration, patches: Sequence[Candidate], request: PlanRequest, network: NetworkSpec) -> Fitted:
    """Give ``draft`` the largest patch whose step fits the memory, then a batch and features that suit the time.

    Raises :class:`PlanError` that names the smallest memory that would do where nothing fits.
    """
    tried: list[str] = []
    for first_features in FIRST_FEATURES:
        is_last = first_features == FIRST_FEATURES[-1]
        found = _fit_memory(draft, patches, request, network=network, first_features=first_features)
        if found is None:
            if is_last:
                raise _too_little(draft, patches[-1], request, network)
            tried.append(f"{first_features} features: even the smallest patch needs more memory than there is")
            continue
        speed = speed_of(found.configuration, found.cost, request)
        fitted = _with_batch(found, request, speed)
        steps = speed.iterations(fitted.configuration.batch_size) if speed else None
        if steps is None or steps >= FEW_ITERATIONS or is_last:
            break
        tried.append(f"{first_features} features: {steps} steps fit into the time, fewer than {FEW_ITERATIONS}")
    return replace(fitted, reasons=(*tried, *fitted.reasons))


def _fit_memory(
    draft: Configuration,
    patches: Sequence[Candidate],
    request: PlanRequest,
    *,
    network: NetworkSpec,
    first_features: int,
) -> Fitted | None:
    """Find the first patch whose smallest batch fits; None where none does.

    Memory falls along the list, about as the voxels do, so that few of the patches need to be counted.
    """
    memory, smallest = request.resources.memory, draft.batch_size
    drafts: dict[int, tuple[Configuration, BatchCost]] = {}
    low, high, guess = -1, len(patches), 0
    while high - low > 1:
        spec = network(draft.dimension, patches[guess].topology, first_features)
        drafted = replace(draft, patch_size=patches[guess].patch, network=spec)
        cost = batch_cost(drafted, request.dataset)
        drafts[guess] = drafted, cost
        peak = cost.peak_bytes(smallest)
        low, high = (low, guess) if peak <= memory else (guess, high)
        guess = _next_guess(patches, patches[guess].voxels * memory / peak, low, high)
    if high == len(patches):
        return None
    reasons = [f"patch {times(patches[i].patch)}: {patches[i].origin}" for i in range(high + 1)]
    counted = [
        f"counted: {times(patches[i].patch)} needs {format_bytes(cost.peak_bytes(smallest))} of {format_bytes(memory)} "
        f"with a batch of {smallest}"
        for i, (_, cost) in sorted(drafts.items())
    ]
    pooling = pooling_reasons(patches[high].topology, patches[high].patch, draft.patch_spacing)
    return Fitted(*drafts[high], (*reasons, *counted, *pooling))


def _next_guess(patches: Sequence[Candidate], voxels_that_fit: float, low: int, high: int) -> int:
    """Return the first patch of at most ``voxels_that_fit``, kept strictly between two that are known."""
    guess = next((i for i, candidate in enumerate(patches) if candidate.voxels <= voxels_that_fit), len(patches))
    return min(max(guess, low + 1), max(high - 1, 0))


def _with_batch(fitted: Fitted, request: PlanRequest, speed: Speed | None) -> Fitted:
    """Choose the batch: what the memory holds, no more than 5 % of the data, no more than the time allows."""
    draft = fitted.configuration
    by_memory = fitted.cost.largest_batch(request.resources.memory)
    cases = len(request.fingerprint.cases)
    by_data = round(DATASET_SHARE * voxels(draft.median_shape) * cases / voxels(draft.patch_size))
    largest = max(2, min(by_memory, by_data))
    batch = affordable_batch(largest, min(FEWEST_SAMPLES[draft.dimension], largest), speed)
    reasons = [f"batch: the memory holds {by_memory}, {DATASET_SHARE:.0%} of the dataset's voxels are {by_data}"]
    if speed is not None:
        reasons.append(
            f"batch {batch}: about {speed.seconds(batch):.2g} s a step, {speed.iterations(batch):,} steps in "
            f"{speed.time_budget / 3600:.3g} h; {ENOUGH_ITERATIONS:,} would be enough for the largest batch"
        )
    elif draft.training.time_budget is not None:
        reasons.append(f"{request.resources.device} is not on this machine, so that its speed could not be measured")
    return replace(fitted, configuration=replace(draft, batch_size=batch), reasons=(*fitted.reasons, *reasons))


def _too_little(draft: Configuration, smallest: Candidate, request: PlanRequest, network: NetworkSpec) -> PlanError:
    spec = network(draft.dimension, smallest.topology, FIRST_FEATURES[-1])
    drafted = replace(draft, patch_size=smallest.patch, network=spec)
    needed = batch_cost(drafted, request.dataset).peak_bytes(draft.batch_size)
    return PlanError(
        f"memory: found {format_bytes(request.resources.memory)}, expected at least {format_bytes(needed * 1.1)}, "
        "which the smallest patch needs; free some memory or train on another device"
    )
