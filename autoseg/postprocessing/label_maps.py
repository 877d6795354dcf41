"""Convert class probabilities to a label map on the grid of the input file, by undoing the preprocessing steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.images.crop import uncrop
from autoseg.postprocessing.scores import REGION_THRESHOLD, Scores
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.resample import argmax_resampled, resample_image
from autoseg.preprocessing.spline import ROWS_PER_BAND


def label_map(scores: Sequence[Scores], dataset: Dataset) -> np.ndarray:
    """Return label values [Z,Y,X] on the file's grid from the mean of one or more configurations' scores.

    One class at a time is resampled to the cropped grid and compared with the best class so far, so that the memory
    beside the scores does not grow with the number of classes. Regions are painted one over the other in the dataset's
    order, where their probability is above 0.5. Voxels outside the crop are background. Raises :class:`WeightsError`
    for NaN or infinity.
    """
    preprocessing, values = scores[0].preprocessing, label_values(dataset)
    if dataset.regions:
        labels = _painted(scores, np.array(dataset.region_order, dtype=values.dtype))
    else:
        labels = values[_winner(scores[0]) if len(scores) == 1 else _winner_of_many(scores, dataset.outputs)]
    return uncrop(preprocessing.reorientation.undo(labels), preprocessing.box, preprocessing.geometry.size)


def _painted(scores: Sequence[Scores], values: np.ndarray) -> np.ndarray:
    """Return label values on the cropped grid: the value of the last region whose mean score is above 0.5."""
    labels = np.zeros(scores[0].preprocessing.cropped_shape, dtype=values.dtype)
    for index, value in enumerate(values):
        score = class_on_grid(scores, index)
        if not np.isfinite(score.sum()):
            raise WeightsError(f"scores of region {index}: found NaN or infinity, expected finite numbers; train again")
        labels[score > REGION_THRESHOLD] = value
    return labels


def _winner(share: Scores) -> np.ndarray:
    """Return the class index of the largest score on the cropped grid."""
    preprocessing = share.preprocessing
    if preprocessing.shape == preprocessing.cropped_shape:
        return _largest(share.probabilities)
    return argmax_resampled(share.probabilities, preprocessing.cropped_shape, separate_axis=preprocessing.separate_axis)


def _largest(scores: np.ndarray) -> np.ndarray:
    """Return the class index of the largest score; numpy's argmax along the first axis would copy all scores."""
    winner = np.zeros(scores.shape[1:], dtype=_index_type(len(scores)))
    for rows in (slice(start, start + ROWS_PER_BAND) for start in range(0, len(winner), ROWS_PER_BAND)):
        best = np.array(scores[0, rows])
        for index in range(1, len(scores)):
            candidate = scores[index, rows]
            np.copyto(winner[rows], index, where=candidate > best, casting="unsafe")
            np.maximum(best, candidate, out=best)
        # np.maximum propagates NaN, so testing the maximum is sufficient.
        if not np.isfinite(best.sum()):
            raise WeightsError("scores: found NaN or infinity, expected finite numbers; train again")
    return winner


def _winner_of_many(scores: Sequence[Scores], classes: int) -> np.ndarray:
    """Return the class index of the largest mean score on the cropped grid."""
    best = class_on_grid(scores, 0)
    winner = np.zeros(best.shape, dtype=_index_type(classes))
    for index in range(1, classes):
        candidate = class_on_grid(scores, index)
        np.copyto(winner, index, where=candidate > best, casting="unsafe")
        np.maximum(best, candidate, out=best)
    return winner


def _index_type(classes: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if classes <= np.iinfo(np.uint8).max + 1 else np.uint16


def probabilities_on_grid(scores: Sequence[Scores], dataset: Dataset) -> np.ndarray:
    """Return the mean probabilities [outputs,Z,Y,X] float16 on the file's grid; background outside the crop."""
    whole = np.empty((dataset.outputs, *scores[0].preprocessing.geometry.size), dtype=np.float16)
    for index, on_grid in enumerate(_each_on_file_grid(scores, dataset)):
        whole[index] = on_grid
    return whole


def write_probabilities(path: Path, scores: Sequence[Scores], dataset: Dataset) -> None:
    """Write the array of :func:`probabilities_on_grid`, with one class at a time in memory."""
    from autoseg.preprocessing.store import write_rows

    shape = (dataset.outputs, *scores[0].preprocessing.geometry.size)
    write_rows(path, _each_on_file_grid(scores, dataset), shape=shape, dtype=np.dtype(np.float16))


def _each_on_file_grid(scores: Sequence[Scores], dataset: Dataset) -> Iterator[np.ndarray]:
    """Yield each output's mean probability [Z,Y,X] float16 on the file's grid."""
    preprocessing = scores[0].preprocessing
    for index in range(dataset.outputs):
        outside = 1 if index == 0 and not dataset.regions else 0
        whole = np.full(preprocessing.geometry.size, outside, dtype=np.float16)
        whole[preprocessing.box.slices] = preprocessing.reorientation.undo(class_on_grid(scores, index))
        yield whole


def label_values(dataset: Dataset) -> np.ndarray:
    """Return the file's label value of each class index."""
    values = np.array([0, *dataset.values])
    return values.astype(np.uint8 if values.max() <= 255 else np.uint16 if values.max() <= 65535 else np.int32)


def class_on_grid(scores: Sequence[Scores], index: int) -> np.ndarray:
    """Return the mean probability [Z,Y,X] of one class on the cropped grid, with the axes of the plan."""
    total = _weighted(scores[0], index)
    for share in scores[1:]:
        total = total + _weighted(share, index)
    return total / np.float32(sum(share.configurations for share in scores))


def _weighted(share: Scores, index: int) -> np.ndarray:
    """Return one class' probability on the cropped grid, multiplied by the number of configurations in the mean."""
    probability = on_cropped_grid(share.probabilities[index], share.preprocessing)
    return probability if share.configurations == 1 else probability * np.float32(share.configurations)


def on_cropped_grid(volume: np.ndarray, preprocessing: PreprocessingRecord) -> np.ndarray:
    """Resample a volume [Z,Y,X] float32 from a configuration's grid to the cropped grid, with the axes of the plan."""
    if preprocessing.shape == preprocessing.cropped_shape:
        return volume
    return resample_image(
        volume[None], preprocessing.cropped_shape, order=1, separate_axis=preprocessing.separate_axis
    )[0]
