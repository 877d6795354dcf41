"""The augmentation settings of a plan: a preset by name, and values that override it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from autoseg.augmentation.blur import Blur
from autoseg.augmentation.brightness import Brightness
from autoseg.augmentation.channel_dropout import ChannelDropout
from autoseg.augmentation.component_removal import ComponentRemoval
from autoseg.augmentation.contrast import Contrast
from autoseg.augmentation.gamma import Gamma
from autoseg.augmentation.low_resolution import LowResolution
from autoseg.augmentation.mirror import Mirror
from autoseg.augmentation.morphology import Morphology
from autoseg.augmentation.noise import Noise
from autoseg.augmentation.spatial import Rotation, Scaling
from autoseg.errors import PlanError
from autoseg.files.records import from_plain, to_plain
from autoseg.registry import Registry

presets: Registry = Registry("augmentations", modules=("autoseg.augmentation.presets",))


@dataclass(frozen=True)
class AugmentationSettings:
    """All transforms with their probabilities and ranges, in order of application."""

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
    morphology: Morphology = dataclasses.field(default_factory=Morphology)
    """Like ``component_removal``, applied only to a previous stage's labels, before spatial transforms."""
    component_removal: ComponentRemoval = dataclasses.field(default_factory=ComponentRemoval)
    channel_dropout: ChannelDropout = dataclasses.field(default_factory=ChannelDropout)
    """Applied last, so that missing channels contain exactly their fill values."""
    loader: tuple[dict[str, Any], ...] = ()
    """Transforms of batchgenerators, by class name with arguments; the loader applies them before all others."""


def settings_from(spec: Mapping[str, Any]) -> AugmentationSettings:
    """Return the preset that ``spec`` names, with the values that it overrides.

    ``spec`` is ``{"name": "default", "rotation": {"probability": 0.4}, ...}``. Raises :class:`PlanError` for an
    unknown preset, transform or argument, and for a value out of range.
    """
    changes = {key: value for key, value in spec.items() if key != "name"}
    preset: AugmentationSettings = presets.build({"name": spec.get("name", "default")})
    plain = _overridden(to_plain(preset), changes, "augmentation")
    return from_plain(AugmentationSettings, plain, source="augmentation", error=PlanError)


def _overridden(plain: dict[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Replace values, also in nested objects of ``plain``; raise :class:`PlanError` for a new key."""
    result = dict(plain)
    for key, value in changes.items():
        if key not in plain:
            raise PlanError(f"{where}: found '{key}', expected one of: {', '.join(_nearest_first(key, plain))}")
        inside = isinstance(plain[key], dict) and isinstance(value, Mapping)
        result[key] = _overridden(plain[key], value, f"{where}.{key}") if inside else value
    return result


def _nearest_first(key: str, names: Iterable[str]) -> list[str]:
    nearest = difflib.get_close_matches(key, names, n=3, cutoff=0.3)
    return [*nearest, *(name for name in names if name not in nearest)]
