"""One case, from the image as stored to the arrays a network reads, every step recorded so that it can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autoseg.dataset import IGNORED, Dataset
from autoseg.errors import ImageError
from autoseg.images import Geometry, Volume
from autoseg.missing import channel_count_fault, hint
from autoseg.orientation import NO_FLIPS, Flips, Turn, turn_between
from autoseg.plan import Configuration, Plan
from autoseg.preprocessing.crop import Box, nonzero_box
from autoseg.preprocessing.extra import CaseFiles, compute
from autoseg.preprocessing.normalization import fill_absent, normalize
from autoseg.preprocessing.resample import resample_image, resample_labels, separate_axis

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Steps:
    """What was done to a case, in order: crop, transpose, flip, resample. Undone backwards by the export."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    geometry: Geometry
    box: Box
    """In the axes of the file."""
    transpose: Triple
    """Brings the axes of the file to those of the plan, by way of the plan's orientation."""
    cropped_shape: Triple
    """After transposition, before resampling."""
    shape: Triple
    """As the network sees it."""
    separate_axis: int | None
    """Axis that was resampled apart, being much coarser than the others."""
    flips: Flips = NO_FLIPS
    """Axes, after transposition, that run the other way than in the plan's orientation."""

    @property
    def turn(self) -> Turn:
        """What brings a cropped array of the file to the plan's axes, and back."""
        return Turn(self.transpose, self.flips)


@dataclass(frozen=True)
class Prepared:
    """A case as the network reads it: image [C,Z,Y,X] float32, label indices [Z,Y,X] where known, −1 where ignored."""

    image: np.ndarray
    labels: np.ndarray | None
    steps: Steps
    absent: tuple[int, ...] = ()
    """Numbers of the dataset's channels that the case lacks."""


def prepare(
    volume: Volume,
    labels: np.ndarray | None,
    *,
    dataset: Dataset,
    plan: Plan,
    configuration: Configuration,
    files: CaseFiles | None = None,
) -> Prepared:
    """Crop to the non-zero box, turn to the plan's axes, normalize and resample one case.

    Extra channels follow those of the image; ``files`` tells where those that some of them need lie.
    ``labels`` hold the values of the file; they become places in the dataset's values, see :func:`label_indices`.
    Raises :class:`ImageError` where the number of channels is not the plan's.
    """
    specs, absent = configuration.normalization, volume.absent
    _check_channels(volume, dataset)
    steps = plan_steps(volume, plan, configuration)
    image = np.ascontiguousarray(steps.turn.apply(volume.array[(slice(None), *steps.box.slices)]))
    present = [spec for number, spec in enumerate(specs) if number not in absent]
    image = resample_image(normalize(image, present), steps.shape, separate_axis=steps.separate_axis)
    image = fill_absent(image, specs, {number: dataset.fills[number] for number in absent})
    if configuration.extra_channels:
        image = np.concatenate([image, _extra(steps, plan, configuration, files)])
    if labels is not None:
        indices = steps.turn.apply(label_indices(labels[steps.box.slices], dataset))
        labels = resample_labels(np.ascontiguousarray(indices), steps.shape, separate_axis=steps.separate_axis)
    return Prepared(image, labels, steps, absent)


def _extra(steps: Steps, plan: Plan, configuration: Configuration, files: CaseFiles | None) -> np.ndarray:
    from autoseg.preprocessing.extra.grid import Grid

    return compute(configuration.extra_channels, Grid(steps, plan.transpose), files)


def _check_channels(volume: Volume, dataset: Dataset) -> None:
    found = volume.array.shape[0] + len(volume.absent)
    if found != len(dataset.channels):
        raise ImageError(channel_count_fault(found, dataset.channels))
    lacking = [dataset.channels[number] for number in volume.absent if number not in dataset.fills]
    if lacking:
        raise ImageError(f"found no channel {', '.join(lacking)}, expected it{hint(lacking)}")


def plan_steps(volume: Volume, plan: Plan, configuration: Configuration) -> Steps:
    """Decide the crop and the new shape of a case."""
    return steps_of(volume.geometry, nonzero_box(volume.array), plan, configuration)


def steps_of(geometry: Geometry, box: Box, plan: Plan, configuration: Configuration) -> Steps:
    """Return what is done to an image that is cropped to ``box``."""
    turn = turn_to_plan(geometry, plan)
    cropped = _reorder(box.shape, turn.axes)
    spacing = _reorder(geometry.spacing, turn.axes)
    target = tuple(
        own if wanted is None else wanted for own, wanted in zip(spacing, configuration.spacing, strict=True)
    )
    shape = resampled_shape(cropped, spacing, target)
    axis = separate_axis(spacing, target) if shape != cropped else None
    return Steps(geometry, box, turn.axes, cropped, shape, axis, turn.flips)


def turn_to_plan(geometry: Geometry, plan: Plan) -> Turn:
    """Return what brings an array from the axes of its file to those of a plan.

    Where the plan names an orientation, the image comes to it first, so that a network sees the body as in training
    whatever way a file stores it.
    """
    turn = turn_between(geometry.orientation, plan.orientation) if plan.orientation else Turn()
    return turn.then(plan.transpose)


def resampled_shape(shape: Triple, spacing: tuple[float, ...], target: tuple[float, ...]) -> Triple:
    """Return the voxels after a change of spacing: the extent is kept to within half a voxel, one voxel at least."""
    z, y, x = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing, target, strict=True))
    return z, y, x


def label_indices(labels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Turn label values into their places, from 1 on, in the dataset's values, and ignored ones into ``IGNORED``.

    Values that the dataset does not know become background.
    """
    values, highest = [0, *dataset.values], int(labels.max(initial=0))
    dtype = np.int8 if len(values) <= np.iinfo(np.int8).max else np.int16
    if values == list(range(len(values))) and highest < len(values):
        return labels.astype(dtype)
    table = np.zeros(max(highest, *values) + 1, dtype=dtype)
    table[values] = np.arange(len(values))
    table[[value for value in dataset.ignore if value <= highest]] = IGNORED
    return table[labels]


def _reorder(triple: tuple[Any, ...], order: Triple) -> tuple[Any, Any, Any]:
    z, y, x = (triple[axis] for axis in order)
    return z, y, x
