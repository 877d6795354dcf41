"""The plan: everything decided from fingerprint and resources, as a JSON file that a person can read and edit."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from autoseg.errors import PlanError
from autoseg.orientation import is_orientation
from autoseg.records import from_plain, to_plain
from autoseg.sides import first_doubled
from autoseg.storage import read_json, write_json

PLAN_VERSION = 1
"""Raised when a plan of an older version would be read wrongly."""

Component = dict[str, Any]
"""A part of a plan that chooses code: ``{"name": ..., **arguments}``, looked up in a registry."""

STRICT = {"extra": "forbid", "strict": False, "allow_inf_nan": False}
"""How pydantic reads the dataclasses below: an unknown field is an error, an integer may stand for a float."""


@dataclass(frozen=True)
class Training:
    """How long and how a configuration trains."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    optimizer: Component
    schedule: Component
    iterations: int | None = None
    """Number of steps; where it is None, the time budget decides."""
    time_budget: float | None = None
    """Seconds for one fold, its validation included."""
    gradient_norm: float = 12.0
    average_decay: float | None = None
    """Decay per step of the moving average of the weights that becomes the model; None takes the last weights."""


@dataclass(frozen=True)
class Configuration:
    """One trainable set-up. Axes are those of the plan after transposition, coarsest spacing first."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    dimension: Literal[2, 3]
    spacing: tuple[float | None, float | None, float | None]
    """Millimetres along (z, y, x); None keeps each case's own spacing along that axis (slices in 2D)."""
    median_shape: tuple[int, int, int]
    """Voxels of the median case at this spacing."""
    patch_size: tuple[int, ...]
    batch_size: int
    normalization: tuple[Component, ...]
    """One for each channel."""
    network: Component
    loss: Component
    sampling: Component
    augmentation: Component
    training: Training
    precision: Literal["bfloat16", "float32"] = "float32"
    storage: Literal["float32", "float16"] = "float32"
    """Type of the preprocessed images on disk."""
    previous_stage: str | None = None
    """Configuration whose label maps, one-hot, are further input channels."""
    input_layer: Component | None = None
    """Learned layer before the network, such as learnable windows."""

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """The patch as (z, y, x); a 2D patch is one slice thick."""
        return (1, *self.patch_size) if self.dimension == 2 else self.patch_size  # type: ignore[return-value]

    @property
    def patch_spacing(self) -> tuple[float, ...]:
        """Spacing along the axes of the patch."""
        return tuple(s if s is not None else 1.0 for s in self.spacing[3 - self.dimension :])


@dataclass(frozen=True)
class Swap:
    """Classes that change places in what is mirrored along one axis: left and right ones."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    axis: int
    """As those of ``mirror_axes``."""
    classes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Decision:
    """One thing that a planner decided, for people."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    about: str
    """A configuration's name, or what the decision concerns in all of them."""
    decision: str
    reasons: tuple[str, ...] = ()
    """The figures that led to it, in the order in which they were looked at."""


@dataclass(frozen=True)
class Plan:
    """What to do with a dataset: its configurations and what they share."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    version: int
    dataset: str
    planner: str
    transpose: tuple[int, int, int]
    """Axis i after preprocessing is axis transpose[i] of the (z, y, x) of an image in the plan's orientation."""
    mirror_axes: tuple[int, ...]
    """Axes (0 is z) along which training and prediction may mirror, after transposition."""
    configurations: dict[str, Configuration]
    request: dict[str, Any] = field(default_factory=dict)
    """What the user asked for when it was made: device, memory, time_budget, configurations."""
    memory: int | None = None
    """Bytes of a training step that the plan was made for."""
    explanation: tuple[Decision, ...] = ()
    orientation: str | None = None
    """What images are turned to before all else, such as SPL (z up, y back, x to the left); null leaves them."""
    swap: Swap | None = None
    """What mirroring along one of the mirror axes does to classes; null: all stay as they are."""

    def configuration(self, name: str) -> Configuration:
        """Return a configuration; raise :class:`PlanError` that lists those that there are."""
        if name not in self.configurations:
            known = ", ".join(self.configurations)
            raise PlanError(f"configuration '{name}' is not in the plan of {self.dataset}, which has: {known}")
        return self.configurations[name]


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as JSON."""
    write_json(path, to_plain(plan))


def read_plan(path: Path) -> Plan:
    """Read and validate a plan; raise :class:`PlanError` naming the first field that cannot be used."""
    return parse_plan(read_json(path), source=str(path))


def parse_plan(plain: Any, *, source: str) -> Plan:
    """Validate plain values as a plan; ``source`` begins the message of the :class:`PlanError` where they are none."""
    version = plain.get("version") if isinstance(plain, dict) else None
    if isinstance(version, int) and version > PLAN_VERSION:
        raise PlanError(
            f"{source}: field 'version', found {version}, expected at most {PLAN_VERSION}: "
            "this plan was made by a newer autoseg; update autoseg or plan again"
        )
    plan = from_plain(Plan, plain, source=source, error=PlanError)
    if plan.version < 1:
        raise PlanError(f"{source}: field 'version', found {plan.version}, expected {PLAN_VERSION}; plan again")
    if not plan.configurations:
        raise PlanError(f"{source}: field 'configurations', found none, expected at least one; plan again")
    for name, configuration in plan.configurations.items():
        _check(configuration, f"{source}: field 'configurations.{name}")
    if sorted(plan.transpose) != [0, 1, 2]:
        raise PlanError(f"{source}: field 'transpose', found {list(plan.transpose)}, expected an order of 0, 1, 2")
    if plan.orientation is not None and not is_orientation(plan.orientation):
        raise PlanError(
            f"{source}: field 'orientation', found '{plan.orientation}', expected one letter of each of LR, AP and IS, "
            "such as SPL, or null"
        )
    if not set(plan.mirror_axes) <= {0, 1, 2} or len(set(plan.mirror_axes)) < len(plan.mirror_axes):
        raise PlanError(f"{source}: field 'mirror_axes', found {list(plan.mirror_axes)}, expected some of 0, 1, 2")
    if plan.swap is not None:
        _check_swap(plan.swap, f"{source}: field 'swap")
    _check_stages(plan, f"{source}: field 'configurations")
    return plan


def _check_swap(swap: Swap, place: str) -> None:
    """Check that a swap names one axis, and pairs of classes of which none comes twice."""
    if swap.axis not in (0, 1, 2):
        raise PlanError(f"{place}.axis', found {swap.axis}, expected 0, 1 or 2")
    if not swap.classes:
        raise PlanError(f"{place}.classes', found none, expected pairs of classes; or set 'swap' to null")
    doubled = first_doubled(name for pair in swap.classes for name in pair)
    if doubled is not None:
        raise PlanError(f"{place}.classes', found '{doubled}' twice, expected each class in one pair at most")


def _check(configuration: Configuration, place: str) -> None:
    """Check what types alone cannot say; ``place`` is the beginning of the message."""
    patch = configuration.patch_size
    if len(patch) != configuration.dimension or min(patch) < 1:
        raise PlanError(
            f"{place}.patch_size', found {list(patch)}, expected {configuration.dimension} positive numbers of voxels"
        )
    if configuration.batch_size < 1:
        raise PlanError(f"{place}.batch_size', found {configuration.batch_size}, expected at least 1")
    if any(s is not None and s <= 0 for s in configuration.spacing):
        raise PlanError(f"{place}.spacing', found {list(configuration.spacing)}, expected millimetres above 0 or null")
    if any(s is None for s in configuration.spacing[3 - configuration.dimension :]):
        raise PlanError(f"{place}.spacing', found null on an axis of the patch, expected millimetres")
    _check_strides(configuration, place)
    _check_training(configuration.training, f"{place}.training")


def _check_strides(configuration: Configuration, place: str) -> None:
    """Check that the patch halves evenly, where the network says by what; other faults of strides are the network's."""
    strides, axes = configuration.network.get("strides"), configuration.dimension
    if not isinstance(strides, list) or any(not _are_counts(stage, axes) for stage in strides):
        return
    factors = [math.prod(stage[axis] for stage in strides) for axis in range(axes)]
    if any(n % factor for n, factor in zip(configuration.patch_size, factors, strict=True)):
        raise PlanError(
            f"{place}.patch_size', found {list(configuration.patch_size)}, expected multiples of {factors}, "
            "the product of the network's strides"
        )
    if all(n == factor for n, factor in zip(configuration.patch_size, factors, strict=True)):
        raise PlanError(
            f"{place}.patch_size', found {list(configuration.patch_size)}, of which pooling leaves a single voxel, "
            "expected a larger patch or fewer strides"
        )


def _are_counts(values: Any, length: int) -> bool:
    return isinstance(values, list) and len(values) == length and all(isinstance(n, int) and n > 0 for n in values)


def _check_training(training: Training, place: str) -> None:
    if training.gradient_norm <= 0:
        raise PlanError(f"{place}.gradient_norm', found {training.gradient_norm}, expected a number above 0")
    if training.iterations is not None and training.iterations < 1:
        raise PlanError(f"{place}.iterations', found {training.iterations}, expected at least 1 or null")
    if training.iterations is None and training.time_budget is None:
        raise PlanError(f"{place}', found neither iterations nor time_budget, expected one of them")
    if training.time_budget is not None and training.time_budget <= 0:
        raise PlanError(f"{place}.time_budget', found {training.time_budget}, expected seconds above 0")
    if training.average_decay is not None and not 0 <= training.average_decay < 1:
        raise PlanError(f"{place}.average_decay', found {training.average_decay}, expected from 0 to below 1")


def _check_stages(plan: Plan, place: str) -> None:
    """Check that every previous stage is a configuration of the plan, and that none leads back to itself."""
    for name, configuration in plan.configurations.items():
        before = configuration.previous_stage
        if before is not None and before not in plan.configurations:
            known = ", ".join(other for other in plan.configurations if other != name)
            raise PlanError(f"{place}.{name}.previous_stage', found '{before}', expected null or one of: {known}")
    for name in plan.configurations:
        stages = [name]
        while (stage := plan.configuration(stages[-1]).previous_stage) is not None:
            if stage in stages:
                way = " → ".join([*stages, stage])
                raise PlanError(
                    f"{place}.{stages[-1]}.previous_stage', found '{stage}', which leads round in a circle ({way}); "
                    "set one of them to null"
                )
            stages.append(stage)


def training_order(plan: Plan) -> list[str]:
    """Return the names of a plan's configurations in its order, but each after its previous stage."""
    ordered: list[str] = []
    for name in plan.configurations:
        waiting: list[str] = []
        stage: str | None = name
        while stage is not None and stage not in ordered:
            waiting.append(stage)
            stage = plan.configuration(stage).previous_stage
        ordered.extend(reversed(waiting))
    return ordered


def data_id(plan: Plan, configuration: Configuration) -> str:
    """Name the preprocessed data of a configuration by all that decides them.

    Configurations that differ only in what comes after preprocessing share their data, and an edited spacing or
    normalization leads to new data instead of to stale ones.
    """
    decides = {
        "transpose": plan.transpose,
        "spacing": configuration.spacing,
        "normalization": configuration.normalization,
        "storage": configuration.storage,
        # Plans of before it was told keep the names of their data.
        **({"orientation": plan.orientation} if plan.orientation else {}),
    }
    digest = hashlib.sha256(json.dumps(to_plain(decides), sort_keys=True).encode()).hexdigest()[:8]
    spacing = "x".join("own" if s is None else f"{s:.3g}" for s in configuration.spacing)
    return f"{spacing}mm-{digest}"


def mirror_axes(plan: Plan, configuration: Configuration) -> tuple[int, ...]:
    """Return the plan's mirror axes counted along the patch."""
    along = (patch_axis(axis, configuration) for axis in plan.mirror_axes)
    return tuple(axis for axis in along if axis is not None)


def patch_axis(axis: int, configuration: Configuration) -> int | None:
    """Return an axis of the plan counted along the patch, which in 2D has no z axis: None for that."""
    skipped = 3 - configuration.dimension
    return axis - skipped if axis >= skipped else None


def voxels(shape: tuple[int, ...]) -> int:
    """Count the voxels of a shape."""
    return math.prod(shape)
