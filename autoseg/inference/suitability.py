"""Whether an image is of the kind that a model was trained on, as far as its size and spacing tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoseg.errors import ImageError
from autoseg.geometry import Geometry
from autoseg.plan import Configuration, Plan
from autoseg.preprocessing.case import turn_to_plan

SPACING_FACTOR = 3.0
"""How many times finer or coarser than in training an image may be without a warning; slices of 1 and 3 mm are often
trained together."""


def check_suitability(geometry: Geometry, plan: Plan, configurations: Sequence[Configuration]) -> list[str]:
    """Return warnings of what makes an image unlike those of training; each is one line.

    Raises :class:`ImageError` where the ``configurations`` that predict it can make nothing of it: a single slice where
    they see volumes, or one that lies across the slices of training.
    """
    axes = turn_to_plan(geometry, plan).axes
    size = [geometry.size[axis] for axis in axes]
    spacing = [geometry.spacing[axis] for axis in axes]
    for configuration in configurations:
        _check_size(size, plan, configuration)
    return [*_slice_warning(size, configurations), *_spacing_warning(geometry, spacing, plan)]


def _check_size(size: Sequence[int], plan: Plan, configuration: Configuration) -> None:
    usual = configuration.median_shape
    # A 2D network sees nothing along the first axis.
    seen = range(3 - configuration.dimension, 3)
    if not any(size[axis] == 1 and usual[axis] > 1 for axis in seen):
        return
    if configuration.dimension == 3 and size[0] == 1:
        advice = "; choose -c 2d" if "2d" in plan.configurations else ""
        raise ImageError(
            f"found a single slice, {_text(size)} voxels, expected a volume: training saw about {_text(usual)}{advice}"
        )
    raise ImageError(
        f"found {_text(size)} voxels along the plan's axes, expected slices as in training, of about {_text(usual)}; "
        "this one lies across them"
    )


def _slice_warning(size: Sequence[int], configurations: Sequence[Configuration]) -> list[str]:
    if size[0] == 1 or any(c.dimension == 3 or c.median_shape[0] > 1 for c in configurations):
        return []
    return [f"found {size[0]} slices, training saw images of one; each is predicted by itself"]


def _spacing_warning(geometry: Geometry, spacing: Sequence[float], plan: Plan) -> list[str]:
    """Compare with the finest configuration, which has about the spacing of the training images."""
    if geometry.dimension == 2:
        axes: Sequence[int] = (1, 2)
    else:
        axes = tuple(axis for axis in range(3) if geometry.size[turn_to_plan(geometry, plan).axes[axis]] > 1)
    trained = [_finest(plan, axis) for axis in range(3)]
    ratios = [spacing[axis] / known for axis in axes if (known := trained[axis]) is not None]
    if not ratios or max(np.max(ratios), 1 / np.min(ratios)) <= SPACING_FACTOR:
        return []
    found = "×".join(f"{s:.3g}" for s in spacing)
    shown = "×".join("any" if known is None else f"{known:.3g}" for known in trained)
    return [
        f"spacing {found} mm, trained at {shown} mm: more than {SPACING_FACTOR:g} times finer or coarser; are these "
        "millimetres? expect worse labels"
    ]


def _finest(plan: Plan, axis: int) -> float | None:
    """Return the finest spacing of an axis in a plan; None where slices are taken as they come."""
    known = [c.spacing[axis] for c in plan.configurations.values()]
    return min((s for s in known if s is not None), default=None)


def _text(numbers: Sequence[int]) -> str:
    return "×".join(map(str, numbers))
