"""The preprocessing record: the steps applied to a case, in order, so that the export can undo them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from autoseg.images.crop import Box, nonzero_box
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.orientation import NO_FLIPS, Flips, Reorientation, reorientation_between
from autoseg.plan.schema import Configuration, Plan
from autoseg.preprocessing.resample import separate_axis

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class PreprocessingRecord:
    """The steps applied to a case: crop, transpose, flip, resample. The export undoes them in reverse order."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    geometry: Geometry
    box: Box
    """Crop box, in the axes of the file."""
    transpose: Triple
    """Permutation from the axes of the file to the axes of the plan; includes the plan's orientation."""
    cropped_shape: Triple
    """Shape after transposition, before resampling."""
    shape: Triple
    """Shape after resampling, as the network reads it."""
    separate_axis: int | None
    """Axis that was resampled separately because its spacing is much coarser than the others."""
    flips: Flips = NO_FLIPS
    """Axes, after transposition, whose direction is opposite to the plan's orientation."""

    @property
    def reorientation(self) -> Reorientation:
        """The reorientation of a cropped array from the file's axes to the plan's axes, and back."""
        return Reorientation(self.transpose, self.flips)


def plan_preprocessing(volume: Volume, plan: Plan, configuration: Configuration) -> PreprocessingRecord:
    """Compute the crop and the new shape of a case."""
    return preprocessing_of(volume.geometry, nonzero_box(volume.array), plan, configuration)


def preprocessing_of(geometry: Geometry, box: Box, plan: Plan, configuration: Configuration) -> PreprocessingRecord:
    """Return the preprocessing record of an image that is cropped to ``box``."""
    reorientation = reorientation_to_plan(geometry, plan)
    cropped = _reorder(box.shape, reorientation.axes)
    spacing = _reorder(geometry.spacing, reorientation.axes)
    target = tuple(
        own if wanted is None else wanted for own, wanted in zip(spacing, configuration.spacing, strict=True)
    )
    shape = resampled_shape(cropped, spacing, target)
    axis = separate_axis(spacing, target) if shape != cropped else None
    return PreprocessingRecord(geometry, box, reorientation.axes, cropped, shape, axis, reorientation.flips)


def reorientation_to_plan(geometry: Geometry, plan: Plan) -> Reorientation:
    """Return the reorientation from the axes of a file to the axes of a plan.

    If the plan names an orientation, the image is first reoriented to it. So the network reads the body in the same
    orientation as in training, independent of the orientation of the file.
    """
    reorientation = (
        reorientation_between(geometry.orientation, plan.orientation) if plan.orientation else Reorientation()
    )
    return reorientation.then(plan.transpose)


def resampled_shape(shape: Triple, spacing: tuple[float, ...], target: tuple[float, ...]) -> Triple:
    """Return the shape after a change of spacing: at least one voxel; the extent changes by at most half a voxel."""
    z, y, x = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing, target, strict=True))
    return z, y, x


def _reorder(triple: tuple[Any, ...], order: Triple) -> tuple[Any, Any, Any]:
    z, y, x = (triple[axis] for axis in order)
    return z, y, x
