"""The transforms of batchgenerators by class name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from autoseg.augmentation.loader_arguments import from_json
from autoseg.errors import PlanError

_MODULES = (
    "abstract_transforms",
    "channel_selection_transforms",
    "color_transforms",
    "crop_and_pad_transforms",
    "local_transforms",
    "noise_transforms",
    "resample_transforms",
    "sample_normalization_transforms",
    "spatial_transforms",
    "utility_transforms",
)
_BASES = ("AbstractTransform", "LocalTransform")
"""Base classes of transforms; they are not transforms themselves."""
PARTS = ("transform", "alternative_transform", "transforms", "list_of_transforms")
"""Arguments that contain transforms; transforms that combine other transforms have them."""

TransformClass = Callable[..., Any]


@lru_cache(maxsize=1)
def transform_classes() -> dict[str, TransformClass]:
    """Return batchgenerators' transforms by class name."""
    modules = [import_module(f"batchgenerators.transforms.{name}") for name in _MODULES]
    bases = tuple(getattr(module, name) for module in modules for name in _BASES if name in vars(module))
    found = {
        name: member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and issubclass(member, bases) and name not in _BASES
    }
    return dict(sorted(found.items()))


def transform_class(name: Any) -> TransformClass:
    """Return the class called ``name``; raises :class:`PlanError` with similar names if it does not exist."""
    classes = transform_classes()
    if name not in classes:
        nearest = difflib.get_close_matches(str(name), classes, n=3, cutoff=0.3) or list(classes)[:3]
        raise PlanError(f"augmentation.loader: found '{name}', expected a transform such as {', '.join(nearest)}")
    return classes[name]


def build_transform(spec: Mapping[str, Any]) -> Any:
    """Build one transform from class name and arguments; raises :class:`PlanError` for arguments it does not accept."""
    name = spec.get("name")
    chosen = transform_class(name)
    arguments = {key: _argument(key, value) for key, value in spec.items() if key != "name"}
    try:
        return chosen(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        allowed = ", ".join(inspect.signature(chosen).parameters)
        raise PlanError(f"augmentation.loader: '{name}': {error}; it takes: {allowed}") from None


def _argument(key: str, value: Any) -> Any:
    if key in PARTS and isinstance(value, Mapping):
        return build_transform(value)
    if key in PARTS and isinstance(value, list | tuple):
        return [build_transform(part) for part in value]
    return from_json(value)
