"""What a plan says of augmentation: a preset by name, and what is different from it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from autoseg.augmentation.blur import Blur
from autoseg.augmentation.contrast import Brightness, Contrast
from autoseg.augmentation.gamma import Gamma
from autoseg.augmentation.low_resolution import LowResolution
from autoseg.augmentation.noise import Noise
from autoseg.augmentation.spatial import Rotation, Scaling
from autoseg.errors import PlanError
from autoseg.records import from_plain, to_plain
from autoseg.registry import Registry

presets: Registry = Registry("augmentations", modules=("autoseg.augmentation.presets",))


@dataclass(frozen=True)
class Mirror:
    """How often samples are mirrored, along each of the plan's mirror axes by itself."""

    probability: float = 0.5


@dataclass(frozen=True)
class AugmentationSettings:
    """Every transform with its probability and ranges, in the order in which they are applied."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    rotation: Rotation = dataclasses.field(default_factory=Rotation)
    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    noise: Noise = dataclasses.field(default_factory=Noise)
    blur: Blur = dataclasses.field(default_factory=Blur)
    brightness: Brightness = dataclasses.field(default_factory=Brightness)
    contrast: Contrast = dataclasses.field(default_factory=Contrast)
    low_resolution: LowResolution = dataclasses.field(default_factory=LowResolution)
    gamma_inverted: Gamma = dataclasses.field(default_factory=lambda: Gamma(probability=0.1, inverted=True))
    gamma: Gamma = dataclasses.field(default_factory=Gamma)
    mirror: Mirror = dataclasses.field(default_factory=Mirror)
    loader: tuple[dict[str, Any], ...] = ()
    """Transforms of batchgenerators, by class name with arguments, that the loader applies before all others."""


def settings_from(spec: Mapping[str, Any]) -> AugmentationSettings:
    """Return the preset that ``spec`` names, with the values that it overrides; :class:`PlanError` for unknown ones."""
    changes = {key: value for key, value in spec.items() if key != "name"}
    plain = to_plain(presets.build({"name": spec.get("name", "default")}))
    for key, value in changes.items():
        if key not in plain:
            nearest = difflib.get_close_matches(key, plain, n=3, cutoff=0.3)
            names = ", ".join([*nearest, *(name for name in plain if name not in nearest)])
            raise PlanError(f"augmentation: found '{key}', expected one of: {names}")
        if isinstance(value, Mapping):
            unknown = sorted(set(value) - set(plain[key]))
            if unknown:
                raise PlanError(f"augmentation.{key}: found '{unknown[0]}', expected one of: {', '.join(plain[key])}")
            plain[key] = {**plain[key], **value}
        else:
            plain[key] = value
    settings = from_plain(AugmentationSettings, plain, source="augmentation", error=PlanError)
    _check_probabilities(settings)
    return settings


def _check_probabilities(settings: AugmentationSettings) -> None:
    for part in dataclasses.fields(settings):
        value = getattr(getattr(settings, part.name), "probability", 0.0)
        if not 0 <= value <= 1:
            raise PlanError(f"augmentation.{part.name}.probability: found {value}, expected 0 to 1")
