"""Which of batchgenerators' transforms would bring left to right, where they know nothing of classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoseg.augmentation.loader_catalogue import PARTS, transform_class
from autoseg.errors import PlanError
from autoseg.swapping import Swapping

_AXES_OF = {"MirrorTransform": "axes", "Rot90Transform": "axes", "TransposeAxesTransform": "transpose_any_of_these"}
"""Transforms that exchange sides, and the argument that says along which axes; all unless it is given."""
_TURNING = ("SpatialTransform", "SpatialTransform_2")
_MOVING = ("spatial_transforms", "crop_and_pad_transforms")
"""Modules of batchgenerators whose transforms move voxels."""
_ANGLES = ("angle_x", "angle_y", "angle_z")
"""Radians; a full turn unless they are given."""


def check_no_swapping(specs: Sequence[Mapping[str, Any]], swapping: Swapping | None) -> None:
    """Raise :class:`PlanError` for transforms that bring left to right where classes would have to change places.

    ``specs`` are those that :func:`autoseg.augmentation.loader_transforms.build_loader_transform` accepts.
    """
    if swapping is None:
        return
    for spec in _all(specs):
        if _exchanges(spec, swapping.axis):
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' brings left to right along axis {swapping.axis} of the patch, "
                "where classes change places, expected this of 'augmentation.mirror' alone; leave it out or keep it to "
                "other axes or less than a quarter turn"
            )


def check_nothing_moves(specs: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`PlanError` for transforms that move voxels, which extra channels would not follow."""
    for spec in _all(specs):
        module = getattr(transform_class(spec.get("name")), "__module__", "")
        if module.rsplit(".", 1)[-1] in _MOVING:
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' moves voxels, which computed channels ('extra_channels') would "
                "not follow; leave it out, rotation, scaling and mirror do the same for all channels"
            )


def _exchanges(spec: Mapping[str, Any], axis: int) -> bool:
    if spec["name"] in _AXES_OF:
        return axis in spec.get(_AXES_OF[spec["name"]], (axis,))
    turns = spec["name"] in _TURNING and spec.get("do_rotation", True)
    return turns and any(_furthest(spec.get(angle, math.tau)) > math.pi / 2 for angle in _ANGLES)


def _furthest(angles: Any) -> float:
    return max(abs(angle) for angle in angles) if isinstance(angles, list | tuple) else abs(angles)


def _all(specs: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield transforms, and those that they choose between or apply in turn."""
    for spec in specs:
        yield spec
        for part in PARTS:
            inner = spec.get(part, ())
            yield from _all([inner] if isinstance(inner, Mapping) else inner)
