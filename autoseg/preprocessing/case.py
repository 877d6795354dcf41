"""Preprocess one case to the arrays that a network reads; every step is recorded so that the export can undo it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.data.dataset import IGNORED, CaseFiles, Dataset
from autoseg.data.optional_channels import channel_count_fault, hint
from autoseg.errors import ImageError
from autoseg.images.geometry import Volume
from autoseg.plan.schema import Configuration, Plan
from autoseg.preprocessing.extra import compute
from autoseg.preprocessing.extra.grid import Grid
from autoseg.preprocessing.normalization import fill_missing_channels, normalize
from autoseg.preprocessing.record import PreprocessingRecord, plan_preprocessing
from autoseg.preprocessing.resample import resample_image, resample_labels


@dataclass(frozen=True)
class Prepared:
    """A preprocessed case: image [C,Z,Y,X] float32, label indices [Z,Y,X] or None; ignored voxels are −1."""

    image: np.ndarray
    labels: np.ndarray | None
    preprocessing: PreprocessingRecord
    missing_channels: tuple[int, ...] = ()
    """Numbers of the dataset's channels that are missing in the case."""


def prepare(
    volume: Volume,
    labels: np.ndarray | None,
    *,
    dataset: Dataset,
    plan: Plan,
    configuration: Configuration,
    files: CaseFiles | None = None,
) -> Prepared:
    """Crop one case to its non-zero box, reorient it to the plan's axes, normalize and resample it.

    Extra channels follow the channels of the image; ``files`` locates the files that some extra channels need.
    ``labels`` contain the values of the file; they become indices into the dataset's values, see
    :func:`label_indices`. Raises :class:`ImageError` if the number of channels differs from the plan's.
    """
    specs, missing_channels = configuration.normalization, volume.missing_channels
    _check_channels(volume, dataset)
    preprocessing = plan_preprocessing(volume, plan, configuration)
    image = np.ascontiguousarray(
        preprocessing.reorientation.apply(volume.array[(slice(None), *preprocessing.box.slices)])
    )
    present = [spec for number, spec in enumerate(specs) if number not in missing_channels]
    image = resample_image(normalize(image, present), preprocessing.shape, separate_axis=preprocessing.separate_axis)
    image = fill_missing_channels(image, specs, {number: dataset.fill_values[number] for number in missing_channels})
    if configuration.extra_channels:
        image = np.concatenate([image, _extra(preprocessing, plan, configuration, files)])
    if labels is not None:
        indices = preprocessing.reorientation.apply(label_indices(labels[preprocessing.box.slices], dataset))
        labels = resample_labels(
            np.ascontiguousarray(indices), preprocessing.shape, separate_axis=preprocessing.separate_axis
        )
    return Prepared(image, labels, preprocessing, missing_channels)


def _extra(
    preprocessing: PreprocessingRecord, plan: Plan, configuration: Configuration, files: CaseFiles | None
) -> np.ndarray:
    return compute(configuration.extra_channels, Grid(preprocessing, plan.transpose), files)


def _check_channels(volume: Volume, dataset: Dataset) -> None:
    found = volume.array.shape[0] + len(volume.missing_channels)
    if found != len(dataset.channels):
        raise ImageError(channel_count_fault(found, dataset.channels))
    lacking = [dataset.channels[number] for number in volume.missing_channels if number not in dataset.fill_values]
    if lacking:
        raise ImageError(f"found no channel {', '.join(lacking)}, expected it{hint(lacking)}")


def label_indices(labels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Convert label values to indices into the dataset's values, starting at 1; ignored values become ``IGNORED``.

    Values that the dataset does not define become background.
    """
    values, highest = [0, *dataset.values], int(labels.max(initial=0))
    dtype = np.int8 if len(values) <= np.iinfo(np.int8).max else np.int16
    if values == list(range(len(values))) and highest < len(values):
        return labels.astype(dtype)
    table = np.zeros(max(highest, *values) + 1, dtype=dtype)
    table[values] = np.arange(len(values))
    table[[value for value in dataset.ignore if value <= highest]] = IGNORED
    return table[labels]
