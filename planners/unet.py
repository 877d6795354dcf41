"""The U-Net planner: configurations ``2d`` and ``3d_fullres`` by nnU-Net's rules, memory counted, not looked up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from autoseg.errors import PlanError
from autoseg.plan import PLAN_VERSION, Component, Configuration, Plan, voxels
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.memory import StepCost, cost_by_batch, step_cost
from autoseg.planners.normalization import normalization
from autoseg.planners.recipe import Speed, affordable_batch, time_budget, training
from autoseg.planners.resources import GIGABYTE, Resources
from autoseg.planners.spacing import axis_order, median_shape, target_spacing
from autoseg.planners.topology import SMALLEST_BOTTLENECK, Topology, pad_to_divisor

FIRST_FEATURES = (32, 16, 8)
"""Features of the first stage, nnU-Net's first; fewer where time is so short that wider networks would hardly learn."""
FEW_ITERATIONS = 500
"""Steps below which a network with half the features, and so three to four times the steps, learns more."""
MOST_FEATURES = {2: 512, 3: 320}
LARGEST_PATCH_VOXELS = {2: 2048**2, 3: 256**3}
"""Where shrinking starts; the median shape is smaller in almost every dataset."""
SMALLEST_BATCH = {2: 8, 3: 2}
"""Two samples in 3D, as nnU-Net; slices hold far less, so that gradients of fewer would be all noise."""
SMALLEST_EDGE = 2 * SMALLEST_BOTTLENECK
"""Voxels below which no axis of a patch is shrunk: it could not be pooled once."""
DATASET_SHARE = 0.05
"""Share of all voxels that a batch may hold: more would show each case too often in a step (nnU-Net)."""
CONFIGURATIONS = ("2d", "3d_fullres")

NetworkSpec = Callable[[int, Topology, int], Component]
"""Makes a network's part of the plan from the number of spatial axes, the topology and the first stage's features."""


@dataclass(frozen=True)
class _Frame:
    """What all configurations of a plan share while it is made."""

    request: PlanRequest
    spacing: tuple[float, float, float]
    order: tuple[int, int, int]
    normalization: tuple[Component, ...]
    network: NetworkSpec
    notes: list[str]


@planners.register("unet")
def plan_unet(request: PlanRequest) -> Plan:
    """Plan plain U-Nets."""
    return plan_with(request, "unet", unet_spec)


def unet_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe nnU-Net's plain U-Net: features double at each stage, which has two convolutions."""
    return {
        "name": "unet",
        "features": features(dimension, plan.stages, first_features),
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "convolutions": 2,
        "decoder_convolutions": 2,
        "deep_supervision": True,
    }


def features(dimension: int, stages: int, first: int) -> list[int]:
    """Return the features of each stage: doubling from ``first`` up to 320 in 3D and 512 in 2D."""
    return [min(first * 2**stage, MOST_FEATURES[dimension]) for stage in range(stages)]


def plan_with(request: PlanRequest, planner: str, network: NetworkSpec) -> Plan:
    """Plan every configuration that suits the data with networks of one family."""
    notes: list[str] = []
    own_spacing = target_spacing(request.fingerprint)
    order = axis_order(request.fingerprint, own_spacing)
    spacing = (own_spacing[order[0]], own_spacing[order[1]], own_spacing[order[2]])
    notes.append(
        f"target spacing {_text(spacing)} mm: the median of {len(request.fingerprint.cases)} cases, coarsest axis first"
    )
    frame = _Frame(request, spacing, order, normalization(request.dataset, request.fingerprint, notes), network, notes)
    shape = median_shape(request.fingerprint, spacing, order)
    configurations = {name: _configuration(name, frame) for name in _wanted(request.configurations, shape)}
    return Plan(
        version=PLAN_VERSION,
        dataset=request.dataset.name,
        planner=planner,
        transpose=order,
        mirror_axes=(0, 1, 2),
        configurations=configurations,
        explanation=tuple(notes),
    )


def _wanted(names: tuple[str, ...] | None, shape: tuple[int, int, int]) -> tuple[str, ...]:
    if names:
        unknown = [name for name in names if name not in CONFIGURATIONS]
        if unknown:
            raise PlanError(f"configuration '{unknown[0]}': expected one of {', '.join(CONFIGURATIONS)}")
        return names
    return ("2d",) if shape[0] == 1 else CONFIGURATIONS


def _configuration(name: str, frame: _Frame) -> Configuration:
    """Plan one configuration: the largest patch whose step fits the memory, then features and batch for the time."""
    dimension = 2 if name == "2d" else 3
    spacing = _spacing_2d(frame) if dimension == 2 else frame.spacing
    shape = median_shape(frame.request.fingerprint, spacing, frame.order)
    candidates = _candidates(shape[3 - dimension :], frame.spacing[3 - dimension :])
    resources = frame.request.resources
    for first_features in FIRST_FEATURES:
        fitted = _fit_memory(_draft(frame, dimension, spacing, shape), candidates, frame, first_features)
        largest = _largest_batch(fitted, frame.request)
        smallest = min(SMALLEST_BATCH[dimension], largest)
        speed = _speed(fitted, resources)
        if speed is None or speed.iterations(smallest) >= FEW_ITERATIONS:
            break
    batch = affordable_batch(largest, smallest, speed)
    peak = fitted.peak_bytes(batch) / GIGABYTE
    frame.notes.append(
        f"{name}: median shape {_text(shape)}, patch {_text(fitted.draft.patch_size)}, features "
        f"{_text(tuple(fitted.draft.network['features']), ', ')}, batch {batch} of at most {largest}, about "
        f"{peak:.1f} GB of {resources.memory / GIGABYTE:.1f} GB in {fitted.draft.precision}"
    )
    return replace(fitted.draft, batch_size=batch)


def _spacing_2d(frame: _Frame) -> tuple[float | None, float, float]:
    """Slices keep each case's own distance; where all have the same, 2D and 3D share their preprocessed data."""
    own = frame.request.fingerprint.spacings[:, frame.order[0]]
    same = np.allclose(own, frame.spacing[0], rtol=1e-3)
    return (frame.spacing[0] if same else None, frame.spacing[1], frame.spacing[2])


def _candidates(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[tuple[tuple[int, ...], Topology]]:
    """List patches with their topology from large to small.

    The first is proportional to 1/spacing, so that it is about a cube in millimetres, clipped to the median shape; each
    next one has the axis shrunk by one divisor that is largest against the median shape.
    """
    volume = LARGEST_PATCH_VOXELS[len(shape)]
    edge = (volume * math.prod(spacing)) ** (1 / len(shape))
    wanted = [min(n, max(1, round(edge / s))) for n, s in zip(shape, spacing, strict=True)]
    found = []
    while True:
        patch, plan = pad_to_divisor(tuple(wanted), spacing)
        found.append((patch, plan))
        ratios = [
            n / s if grown - d >= SMALLEST_EDGE else 0.0
            for n, s, grown, d in zip(wanted, shape, patch, plan.divisor, strict=True)
        ]
        if max(ratios) == 0.0:
            return found
        axis = ratios.index(max(ratios))
        wanted[axis] = patch[axis] - plan.divisor[axis]


def _draft(
    frame: _Frame, dimension: int, spacing: tuple[float | None, float, float], shape: tuple[int, int, int]
) -> Configuration:
    """Decide all but patch, network and batch."""
    resources = frame.request.resources
    return Configuration(
        dimension=2 if dimension == 2 else 3,
        spacing=spacing,
        median_shape=shape,
        patch_size=shape[3 - dimension :],
        batch_size=SMALLEST_BATCH[dimension],
        normalization=frame.normalization,
        network={},
        loss={"name": "dice_cross_entropy", "batch_dice": dimension == 2},
        sampling={"name": "foreground", "fraction": 0.33},
        augmentation={"name": "default"},
        training=training(time_budget(resources)),
        precision="bfloat16" if resources.bfloat16 else "float32",
    )


@dataclass(frozen=True)
class _Fitted:
    """A configuration with patch and network, and what its training step costs."""

    draft: Configuration
    fixed: StepCost
    sample: StepCost

    def peak_bytes(self, batch: int) -> int:
        return self.fixed.peak_bytes + batch * self.sample.peak_bytes


def _fit_memory(
    draft: Configuration, candidates: list[tuple[tuple[int, ...], Topology]], frame: _Frame, first_features: int
) -> _Fitted:
    """Find the first candidate whose smallest batch fits, by bisection: memory falls along the list."""
    request = frame.request
    memory, dataset = request.resources.memory, request.dataset

    def fitted(index: int) -> _Fitted:
        patch, plan = candidates[index]
        network = frame.network(draft.dimension, plan, first_features)
        drafted = replace(draft, patch_size=patch, network=network)
        return _Fitted(drafted, *cost_by_batch(drafted, dataset, batch=draft.batch_size))

    best = fitted(0)
    if best.peak_bytes(draft.batch_size) <= memory:
        return best
    low, high = 0, len(candidates) - 1
    best = fitted(high)
    if best.peak_bytes(draft.batch_size) > memory:
        raise PlanError(
            f"memory: found {memory / GIGABYTE:.2f} GB, expected at least "
            f"{best.peak_bytes(draft.batch_size) / GIGABYTE:.2f} GB, which the smallest patch needs; "
            "free some memory or train on another device"
        )
    while high - low > 1:
        middle = (low + high) // 2
        found = fitted(middle)
        low, high, best = (low, middle, found) if found.peak_bytes(draft.batch_size) <= memory else (middle, high, best)
    return best


def _largest_batch(fitted: _Fitted, request: PlanRequest) -> int:
    """Fill the memory, but with no more than 5 % of the dataset's voxels; two samples in any case (nnU-Net)."""
    draft, memory = fitted.draft, request.resources.memory
    by_memory = (memory - fitted.fixed.peak_bytes) // fitted.sample.peak_bytes
    cases = len(request.fingerprint.cases)
    by_data = round(DATASET_SHARE * voxels(draft.median_shape) * cases / voxels(draft.patch_size))
    largest, smallest = max(2, min(by_memory, by_data)), draft.batch_size
    if largest <= smallest:
        return largest
    peak = step_cost(draft, request.dataset, batch_size=largest).peak_bytes
    if peak <= memory:
        return largest
    # The peak is convex in the batch size: it lies below the line between two counted batches.
    known = fitted.peak_bytes(smallest)
    return smallest + int((memory - known) / (peak - known) * (largest - smallest))


def _speed(fitted: _Fitted, resources: Resources) -> Speed | None:
    """Estimate how fast this machine trains the draft; None where no time budget bounds it."""
    budget = fitted.draft.training.time_budget
    if budget is None:
        return None
    from autoseg.planners.throughput import training_flops_per_second

    return Speed(fitted.sample.flops / training_flops_per_second(resources.device, fitted.draft.precision), budget)


def _text(numbers: tuple[float | int | None, ...], between: str = "×") -> str:
    return between.join("own" if n is None else f"{n:.4g}" for n in numbers)
