"""The U-Net planner: configurations ``2d`` and ``3d_fullres`` by nnU-Net's rules, memory counted, not looked up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint import Fingerprint
from autoseg.plan import PLAN_VERSION, Component, Configuration, Plan, voxels
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.memory import StepCost, cost_by_batch
from autoseg.planners.recipe import Speed, affordable_batch, time_budget, training
from autoseg.planners.resources import GIGABYTE, Resources
from autoseg.planners.spacing import axis_order, median_shape, target_spacing
from autoseg.planners.topology import Topology, pad_to_divisor

FIRST_FEATURES = 32
MOST_FEATURES = {2: 512, 3: 320}
LARGEST_PATCH_VOXELS = {2: 2048**2, 3: 256**3}
"""Where shrinking starts; the median shape is smaller in almost every dataset."""
SMALLEST_BATCH = {2: 8, 3: 2}
"""Two samples in 3D, as nnU-Net; slices hold far less, so that gradients of fewer would be all noise."""
DATASET_SHARE = 0.05
"""Share of all voxels that a batch may hold: more would show each case too often in a step (nnU-Net)."""
MASKING_SHARE = 0.75
"""Where cropping leaves less than this share of the voxels, intensities are normalized inside the non-zero mask."""
CONFIGURATIONS = ("2d", "3d_fullres")

NetworkSpec = Callable[[int, Topology], Component]
"""Makes a network's part of the plan from the number of spatial axes and the topology."""


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


def unet_spec(dimension: int, plan: Topology) -> Component:
    """Describe nnU-Net's plain U-Net: features double from 32, two convolutions a stage."""
    return {
        "name": "unet",
        "features": features(dimension, plan.stages),
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "convolutions": 2,
        "decoder_convolutions": 2,
        "deep_supervision": True,
    }


def features(dimension: int, stages: int) -> list[int]:
    """Features of each stage: doubling from 32 up to 320 in 3D and 512 in 2D."""
    return [min(FIRST_FEATURES * 2**stage, MOST_FEATURES[dimension]) for stage in range(stages)]


def plan_with(request: PlanRequest, planner: str, network: NetworkSpec) -> Plan:
    """Plan every configuration that suits the data with networks of one family."""
    notes: list[str] = []
    own_spacing = target_spacing(request.fingerprint)
    order = axis_order(own_spacing)
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


def normalization(dataset: Dataset, fingerprint: Fingerprint, notes: list[str]) -> tuple[Component, ...]:
    """Choose each channel's normalization by its name, as nnU-Net does; fitted parameters go into the plan."""
    masked = fingerprint.median_cropped_share < MASKING_SHARE
    by_name: dict[str, Component] = {
        "nonorm": {"name": "none"}, "none": {"name": "none"},
        "rescale_to_0_1": {"name": "rescale"}, "rescale": {"name": "rescale"},
        "rgb_to_0_1": {"name": "rgb"}, "rgb": {"name": "rgb"},
    }  # fmt: skip
    specs: list[Component] = []
    for channel, seen in zip(dataset.channels, fingerprint.intensities, strict=True):
        if channel.lower() == "ct":
            clip = {"lower": seen.percentile_00_5, "upper": seen.percentile_99_5}
            specs.append({"name": "ct", **clip, "mean": seen.mean, "deviation": seen.deviation})
        else:
            specs.append(by_name.get(channel.lower(), {"name": "z_score", "masked": masked}))
        notes.append(f"channel '{channel}': normalization {specs[-1]['name']}")
    return tuple(specs)


def _configuration(name: str, frame: _Frame) -> Configuration:
    """Plan one configuration: the largest patch whose step fits the memory, then the batch."""
    dimension = 2 if name == "2d" else 3
    spacing = _spacing_2d(frame) if dimension == 2 else frame.spacing
    shape = median_shape(frame.request.fingerprint, spacing, frame.order)
    candidates = _candidates(shape[3 - dimension :], frame.spacing[3 - dimension :])
    draft = _draft(frame, dimension, spacing, shape, candidates[0])
    resources, dataset = frame.request.resources, frame.request.dataset
    fixed, sample, draft = _largest_that_fits(draft, candidates, frame)
    largest = _largest_batch(draft, fixed, sample, resources, frame.request.fingerprint)
    batch = affordable_batch(largest, min(SMALLEST_BATCH[dimension], largest), _speed(draft, sample, resources))
    peak = (fixed.peak_bytes + batch * sample.peak_bytes) / GIGABYTE
    stages = len(draft.network["features"])
    frame.notes.append(
        f"{name}: median shape {_text(shape)}, patch {_text(draft.patch_size)}, {stages} stages, batch {batch} of at "
        f"most {largest}, about {peak:.1f} GB of {resources.memory / GIGABYTE:.1f} GB in {draft.precision}; "
        f"{len(dataset.foreground)} classes"
    )
    return replace(draft, batch_size=batch)


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
        ratios = [n / s if n > d else 0.0 for n, s, d in zip(wanted, shape, plan.divisor, strict=True)]
        if max(ratios) == 0.0:
            return found
        axis = ratios.index(max(ratios))
        wanted[axis] = patch[axis] - plan.divisor[axis]


def _draft(
    frame: _Frame,
    dimension: int,
    spacing: tuple[float | None, float, float],
    shape: tuple[int, int, int],
    candidate: tuple[tuple[int, ...], Topology],
) -> Configuration:
    patch, plan = candidate
    resources = frame.request.resources
    return Configuration(
        dimension=2 if dimension == 2 else 3,
        spacing=spacing,
        median_shape=shape,
        patch_size=patch,
        batch_size=SMALLEST_BATCH[dimension],
        normalization=frame.normalization,
        network=frame.network(dimension, plan),
        loss={"name": "dice_cross_entropy", "batch_dice": dimension == 2},
        sampling={"name": "foreground", "fraction": 0.33},
        augmentation={"name": "default"},
        training=training(time_budget(resources)),
        precision="bfloat16" if resources.bfloat16 else "float32",
    )


def _largest_that_fits(
    draft: Configuration, candidates: list[tuple[tuple[int, ...], Topology]], frame: _Frame
) -> tuple[StepCost, StepCost, Configuration]:
    """Find the first candidate whose smallest batch fits, by bisection: memory falls along the list."""
    request = frame.request
    resources, dataset = request.resources, request.dataset

    def cost(index: int) -> tuple[StepCost, StepCost, Configuration]:
        patch, plan = candidates[index]
        drafted = replace(draft, patch_size=patch, network=frame.network(draft.dimension, plan))
        return *cost_by_batch(drafted, channels=len(dataset.channels), outputs=dataset.outputs), drafted

    def fits(found: tuple[StepCost, StepCost, Configuration]) -> bool:
        return found[0].peak_bytes + draft.batch_size * found[1].peak_bytes <= resources.memory

    best = cost(0)
    if fits(best):
        return best
    low, high = 0, len(candidates) - 1
    best = cost(high)
    if not fits(best):
        needed = (best[0].peak_bytes + draft.batch_size * best[1].peak_bytes) / GIGABYTE
        raise PlanError(
            f"memory: found {resources.memory / GIGABYTE:.2f} GB, expected at least {needed:.2f} GB, "
            "which the smallest patch needs; free some memory or train on another device"
        )
    while high - low > 1:
        middle = (low + high) // 2
        found = cost(middle)
        low, high, best = (low, middle, found) if fits(found) else (middle, high, best)
    return best


def _largest_batch(
    draft: Configuration, fixed: StepCost, sample: StepCost, resources: Resources, fingerprint: Fingerprint
) -> int:
    """Fill the memory, but with no more than 5 % of the dataset's voxels; two samples in any case (nnU-Net)."""
    by_memory = (resources.memory - fixed.peak_bytes) // sample.peak_bytes
    by_data = round(DATASET_SHARE * voxels(draft.median_shape) * len(fingerprint.cases) / voxels(draft.patch_size))
    return max(2, min(by_memory, by_data))


def _speed(draft: Configuration, sample: StepCost, resources: Resources) -> Speed | None:
    """Estimate how fast this machine trains the draft; None where no time budget bounds it."""
    budget = draft.training.time_budget
    if budget is None:
        return None
    from autoseg.planners.throughput import training_flops_per_second

    return Speed(sample.flops / training_flops_per_second(resources.device, draft.precision), budget)


def _text(numbers: tuple[float | int | None, ...]) -> str:
    return "×".join("own" if n is None else f"{n:.4g}" for n in numbers)
