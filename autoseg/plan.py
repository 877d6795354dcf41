"""The plan: everything decided from fingerprint and resources, as a JSON file that a person can read and edit."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from autoseg.errors import PlanError
from autoseg.plan_checks import check_plan_values
from autoseg.records import from_plain, to_plain
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
    """Voxels that the network is given. It learns and predicts those that its ``margin`` leaves: all, for most."""
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
    extra_channels: dict[str, Component] = field(default_factory=dict)
    """Channels that are computed beside those of the image, by name, in the order in which they follow these."""

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
    admission: float | None = None
    """Of an ensemble: mean Dice by which a configuration may be behind the best one to be averaged. Null: what predicts
    is whichever configurations, together or alone, are best."""

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
    check_plan_values(plan, source)
    return plan


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
        **({"extra_channels": list(configuration.extra_channels.items())} if configuration.extra_channels else {}),
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
