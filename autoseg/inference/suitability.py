"""Compare the size and spacing of an image with those of the training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoseg.errors import ImageError
from autoseg.images.geometry import Geometry
from autoseg.plan.schema import Configuration, Plan
from autoseg.preprocessing.record import reorientation_to_plan

SPACING_FACTOR = 3.0
"""Maximum ratio between the spacing of an image and that of training without a warning. Slices of 1 and 3 mm are often
trained together."""


def check_suitability(geometry: Geometry, plan: Plan, configurations: Sequence[Configuration]) -> list[str]:
    """Return warnings about differences between an image and the training images, one line each.

    Raises :class:`ImageError` if the ``configurations`` cannot predict the image: a single slice for a configuration
    that needs volumes, or a slice in another plane than the training slices.
    """
    axes = reorientation_to_plan(geometry, plan).axes
    size = [geometry.size[axis] for axis in axes]
    spacing = [geometry.spacing[axis] for axis in axes]
    for configuration in configurations:
        _check_size(size, plan, configuration)
    return [*_slice_warning(size, configurations), *_spacing_warning(geometry, spacing, plan)]


def _check_size(size: Sequence[int], plan: Plan, configuration: Configuration) -> None:
    usual = configuration.median_shape
    # The input of a 2D network does not include the first axis.
    seen = range(3 - configuration.dimension, 3)
    if not any(size[axis] == 1 and usual[axis] > 1 for axis in seen):
        return
    if configuration.dimension == 3 and size[0] == 1:
        advice = "; use -c 2d" if "2d" in plan.configurations else ""
        raise ImageError(
            f"found a single slice, {_text(size)} voxels, expected a volume of about {_text(usual)}{advice}"
        )
    raise ImageError(
        f"found {_text(size)} voxels along the plan's axes, expected slices of about {_text(usual)} as in training; "
        "check the orientation of the image: its slice lies in another plane"
    )


def _slice_warning(size: Sequence[int], configurations: Sequence[Configuration]) -> list[str]:
    if size[0] == 1 or any(c.dimension == 3 or c.median_shape[0] > 1 for c in configurations):
        return []
    return [f"found {size[0]} slices, the training images have one; each slice is predicted separately"]


def _spacing_warning(geometry: Geometry, spacing: Sequence[float], plan: Plan) -> list[str]:
    """Compare with the finest spacing of the plan, which is about the spacing of the training images."""
    if geometry.dimension == 2:
        axes: Sequence[int] = (1, 2)
    else:
        axes = tuple(axis for axis in range(3) if geometry.size[reorientation_to_plan(geometry, plan).axes[axis]] > 1)
    trained = [_finest(plan, axis) for axis in range(3)]
    ratios = [spacing[axis] / known for axis in axes if (known := trained[axis]) is not None]
    if not ratios or max(np.max(ratios), 1 / np.min(ratios)) <= SPACING_FACTOR:
        return []
    found = "×".join(f"{s:.3g}" for s in spacing)
    shown = "×".join("any" if known is None else f"{known:.3g}" for known in trained)
    return [
        f"spacing {found} mm, trained at {shown} mm: more than {SPACING_FACTOR:g} times finer or coarser; labels may "
        "be worse; check that the spacing is in millimetres"
    ]


def _finest(plan: Plan, axis: int) -> float | None:
    """Return the finest spacing of an axis in a plan; None if no configuration resamples this axis."""
    known = [c.spacing[axis] for c in plan.configurations.values()]
    return min((s for s in known if s is not None), default=None)


def _text(numbers: Sequence[int]) -> str:
    return "×".join(map(str, numbers))
