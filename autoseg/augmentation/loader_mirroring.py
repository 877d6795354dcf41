"""Checks that batchgenerators' transforms do not swap left and right, because they do not swap mirrored labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoseg.augmentation.loader_catalogue import PARTS, transform_class
from autoseg.errors import PlanError
from autoseg.preprocessing.mirrored_labels import MirroredLabels

_AXES_OF = {"MirrorTransform": "axes", "Rot90Transform": "axes", "TransposeAxesTransform": "transpose_any_of_these"}
"""Transforms that swap sides, and their argument for the axes; without the argument, all axes."""
_TURNING = ("SpatialTransform", "SpatialTransform_2")
_MOVING = ("spatial_transforms", "crop_and_pad_transforms")
"""Modules of batchgenerators with transforms that move voxels."""
_ANGLES = ("angle_x", "angle_y", "angle_z")
"""Arguments for rotation angles in radians; a full turn if they are absent."""


def check_no_mirrored_labels(specs: Sequence[Mapping[str, Any]], mirrored_labels: MirroredLabels | None) -> None:
    """Raise :class:`PlanError` for transforms that swap left and right if the plan has mirrored labels.

    ``specs``: as for :func:`autoseg.augmentation.loader_transforms.build_loader_transform`.
    """
    if mirrored_labels is None:
        return
    for spec in _all(specs):
        if _exchanges(spec, mirrored_labels.axis):
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' swaps left and right along axis {mirrored_labels.axis} of the "
                "patch but not the left and right classes, expected only 'augmentation.mirror' to do this; remove it, "
                "or limit it to other axes or to rotations of less than a quarter turn"
            )


def check_nothing_moves(specs: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`PlanError` for transforms that move voxels, because they do not move extra channels."""
    for spec in _all(specs):
        module = getattr(transform_class(spec.get("name")), "__module__", "")
        if module.rsplit(".", 1)[-1] in _MOVING:
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' moves voxels but not computed channels ('extra_channels'), "
                "expected transforms of intensities only; remove it and use rotation, scaling or mirror"
            )


def _exchanges(spec: Mapping[str, Any], axis: int) -> bool:
    if spec["name"] in _AXES_OF:
        return axis in spec.get(_AXES_OF[spec["name"]], (axis,))
    is_rotated = spec["name"] in _TURNING and spec.get("do_rotation", True)
    return is_rotated and any(_furthest(spec.get(angle, math.tau)) > math.pi / 2 for angle in _ANGLES)


def _furthest(angles: Any) -> float:
    return max(abs(angle) for angle in angles) if isinstance(angles, list | tuple) else abs(angles)


def _all(specs: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield all transforms, including transforms inside others."""
    for spec in specs:
        yield spec
        for part in PARTS:
            inner = spec.get(part, ())
            yield from _all([inner] if isinstance(inner, Mapping) else inner)
