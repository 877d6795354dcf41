"""The plan: all decisions from fingerprint and resources, stored as a JSON file that users can read and edit."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from autoseg.errors import PlanError
from autoseg.files.records import to_plain
from autoseg.registry import Component

SUPERVISED: Component = {"name": "supervised"}
"""Default trainer."""
STRICT = {"extra": "forbid", "strict": False, "allow_inf_nan": False}
"""Pydantic settings of the dataclasses below: unknown fields are errors, and integers are accepted as floats."""


@dataclass(frozen=True)
class Training:
    """Training settings of a configuration."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    optimizer: Component
    schedule: Component
    iterations: int | None = None
    """Number of training steps; if None, the time budget decides."""
    time_budget: float | None = None
    """Seconds for one fold, including validation."""
    gradient_clip: float = 12.0
    ema_decay: float | None = None
    """EMA decay per step. The model is the moving average of the weights; None uses the last weights."""


@dataclass(frozen=True)
class Configuration:
    """One configuration to train. Axes are those of the plan after transposition, coarsest spacing first."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    dimension: Literal[2, 3]
    spacing: tuple[float | None, float | None, float | None]
    """Target spacing in mm along (z, y, x); None keeps each case's own spacing along that axis (slices in 2D)."""
    median_shape: tuple[int, int, int]
    """Median shape of the cases at this spacing, in voxels."""
    patch_size: tuple[int, ...]
    """Input size of the network in voxels. The output is smaller by the network's ``margin``, which is mostly 0."""
    batch_size: int
    normalization: tuple[Component, ...]
    """Normalization of each channel."""
    network: Component
    loss: Component
    sampling: Component
    augmentation: Component
    training: Training
    trainer: Component = field(default_factory=lambda: dict(SUPERVISED))
    """Way to learn: the streams of samples, the losses, and the optimizers."""
    precision: Literal["bfloat16", "float32"] = "float32"
    storage: Literal["float32", "float16"] = "float32"
    """Type of the preprocessed images on disk."""
    previous_stage: str | None = None
    """Configuration whose predicted label maps, one-hot encoded, are additional input channels (cascade)."""
    input_layer: Component | None = None
    """Learned layer before the network, such as learnable windows."""
    extra_channels: dict[str, Component] = field(default_factory=dict)
    """Computed input channels by name; they follow the image channels in this order."""

    @property
    def trainer_name(self) -> str:
        """Name of the trainer; trained folds are stored under it."""
        return str(self.trainer.get("name"))

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Patch size as (z, y, x); a 2D patch has one slice."""
        return (1, *self.patch_size) if self.dimension == 2 else self.patch_size  # type: ignore[return-value]

    @property
    def patch_spacing(self) -> tuple[float, ...]:
        """Spacing along the axes of the patch."""
        return tuple(s if s is not None else 1.0 for s in self.spacing[3 - self.dimension :])


@dataclass(frozen=True)
class MirroredClasses:
    """Mirrored labels: pairs of left and right classes that are swapped by mirroring along one axis."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    axis: int
    """Axis, counted like ``mirror_axes`` (0 is z)."""
    classes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Decision:
    """One decision of a planner, described for users."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    about: str
    """Name of a configuration, or the subject of a decision for all configurations."""
    decision: str
    reasons: tuple[str, ...] = ()
    """Figures behind the decision, in the order of the planner's steps."""


@dataclass(frozen=True)
class Plan:
    """The plan of a dataset: its configurations and their common settings."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    version: int
    dataset: str
    planner: str
    transpose: tuple[int, int, int]
    """Axis order: axis i after preprocessing is axis transpose[i] of (z, y, x) in the plan's orientation."""
    mirror_axes: tuple[int, ...]
    """Axes (0 is z, after transposition) along which training and prediction may mirror."""
    configurations: dict[str, Configuration]
    request: dict[str, Any] = field(default_factory=dict)
    """Options given by the user: device, memory, time_budget, configurations."""
    memory: int | None = None
    """Memory limit of a training step that the plan was made for, in bytes."""
    explanation: tuple[Decision, ...] = ()
    orientation: str | None = None
    """Orientation of all images after the first preprocessing step, such as SPL (z up, y back, x left). Null keeps the
    stored orientations."""
    mirrored_classes: MirroredClasses | None = None
    """Classes whose labels are swapped by mirroring along one of the mirror axes; null swaps none."""
    dice_margin: float | None = None
    """Ensemble: largest difference in mean Dice from the best configuration for an ensemble member. Null: the best
    single configuration or combination of configurations predicts."""

    def configuration(self, name: str) -> Configuration:
        """Return a configuration; for an unknown name, raise :class:`PlanError` that lists all configurations."""
        if name not in self.configurations:
            known = ", ".join(self.configurations)
            raise PlanError(f"configuration '{name}' is not in the plan of {self.dataset}, which has: {known}")
        return self.configurations[name]


def training_order(plan: Plan) -> list[str]:
    """Return the names of a plan's configurations in the plan's order, but each after its previous stage."""
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
    """Return the folder name of a configuration's preprocessed data, with a hash of all preprocessing settings.

    Configurations with equal preprocessing settings share their data. An edited spacing or normalization gives a new
    name, so that old data are not used by mistake.
    """
    decides = {
        "transpose": plan.transpose,
        "spacing": configuration.spacing,
        "normalization": configuration.normalization,
        "storage": configuration.storage,
        # Add these fields only if they are set, so that plans without them keep their data names.
        **({"orientation": plan.orientation} if plan.orientation else {}),
        **({"extra_channels": list(configuration.extra_channels.items())} if configuration.extra_channels else {}),
    }
    digest = hashlib.sha256(json.dumps(to_plain(decides), sort_keys=True).encode()).hexdigest()[:8]
    spacing = "x".join("own" if s is None else f"{s:.3g}" for s in configuration.spacing)
    return f"{spacing}mm-{digest}"


def mirror_axes(plan: Plan, configuration: Configuration) -> tuple[int, ...]:
    """Return the plan's mirror axes as axes of the patch."""
    along = (patch_axis(axis, configuration) for axis in plan.mirror_axes)
    return tuple(axis for axis in along if axis is not None)


def patch_axis(axis: int, configuration: Configuration) -> int | None:
    """Return an axis of the plan as an axis of the patch; None for the z axis of a 2D patch."""
    skipped = 3 - configuration.dimension
    return axis - skipped if axis >= skipped else None


def voxels(shape: tuple[int, ...]) -> int:
    """Count the voxels of a shape."""
    return math.prod(shape)
