"""Uncertainty of an ensemble for a case: maps with a value for each voxel, and an estimate of the Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.evaluation.agreement import agreement
from autoseg.evaluation.expected_dice import expected_dice
from autoseg.images.crop import uncrop
from autoseg.postprocessing.label_maps import on_cropped_grid
from autoseg.postprocessing.scores import MemberPredictions, Scores, entropy_term
from autoseg.preprocessing.resample import resample_labels


@dataclass(frozen=True)
class Uncertainty:
    """Uncertainty of one case. Maps [Z,Y,X] float32 are on the file's grid, in nats, and 0 outside the crop."""

    entropy: np.ndarray
    """Entropy of the mean probabilities: the total uncertainty of the ensemble."""
    disagreement: np.ndarray | None
    """Mutual information of label and network. It is large where each network is certain but the networks predict
    different labels. None for a single network."""
    agreement: dict[str, float] | None
    """Mean Dice between the networks' label maps for each class; NaN for a class that no network predicts. None for a
    single network."""
    expected: dict[str, float]
    """Expected Dice of the label map for each class, computed from the mean probabilities without a reference; NaN for
    a class that the label map does not contain."""


def uncertainty(scores: Sequence[Scores], labels: np.ndarray, dataset: Dataset) -> Uncertainty:
    """Measure the uncertainty of ``scores`` and of the ``labels`` [Z,Y,X] decoded from them.

    Each of the scores must contain the predictions of its networks; otherwise :class:`PlanError` is raised.

    The entropy H of the mean probabilities is the sum of the mean entropy of the networks and the mutual information of
    network and label (Houlsby et al., Bayesian active learning, arXiv 1112.5745, equation 2; Depeweg et al., ICML 2018,
    for ensembles). With several configurations, the mutual information is the sum of two differences. The first is H of
    the mean of all configurations minus the mean H of the configurations, on the file's grid. The second is, for each
    configuration, H of its mean minus the mean H of its networks, on the grid of the configuration. Both are exact on
    their grids, because interpolation follows later, and neither is below 0. For regions, H is the sum of the entropies
    of each region and its complement.
    """
    preprocessing = scores[0].preprocessing
    member_predictions = [_predictions_of(share) for share in scores]
    exclusive = not dataset.regions
    entropy, between = np.zeros((2, *preprocessing.cropped_shape), dtype=np.float32)
    cropped, expected = preprocessing.reorientation.apply(labels[preprocessing.box.slices]), {}
    names = [*([] if dataset.regions else [None]), *dataset.classes]
    for index, name in enumerate(names):
        shares = [on_cropped_grid(share.probabilities[index], share.preprocessing) for share in scores]
        mean = np.asarray(np.mean(shares, axis=0, dtype=np.float32))
        if name is not None:
            expected[name] = expected_dice(mean, np.isin(cropped, dataset.classes[name]))
        term = entropy_term(mean, exclusive=exclusive)
        entropy += term
        if len(shares) > 1:
            between += term - np.mean([entropy_term(share, exclusive=exclusive) for share in shares], axis=0)
    networks = sum(len(each.labels) for each in member_predictions)
    if networks == 1:
        return Uncertainty(_on_file_grid(entropy, scores[0]), None, None, expected)
    disagreement = np.maximum(between, 0)
    for share, each in zip(scores, member_predictions, strict=True):
        disagreement += on_cropped_grid(_within(share, each, exclusive), share.preprocessing) / np.float32(len(scores))
    found = agreement(_label_maps(scores, member_predictions), dataset.class_indices)
    return Uncertainty(_on_file_grid(entropy, scores[0]), _on_file_grid(disagreement, scores[0]), found, expected)


def _within(share: Scores, member_predictions: MemberPredictions, exclusive: bool) -> np.ndarray:
    """Return the mutual information [Z,Y,X] of label and network within a configuration, on its own grid."""
    information = -member_predictions.mean_entropy
    for probability in share.probabilities:
        information += entropy_term(probability, exclusive=exclusive)
    return np.maximum(information, 0, out=information)


def _label_maps(scores: Sequence[Scores], member_predictions: Sequence[MemberPredictions]) -> list[np.ndarray]:
    """Return the label map of every network on a common grid; with one configuration this is its own grid."""
    if len(scores) == 1:
        return list(member_predictions[0].labels)
    return [
        resample_labels(labels, share.preprocessing.cropped_shape, separate_axis=share.preprocessing.separate_axis)
        for share, each in zip(scores, member_predictions, strict=True)
        for labels in each.labels
    ]


def _on_file_grid(volume: np.ndarray, share: Scores) -> np.ndarray:
    return uncrop(
        share.preprocessing.reorientation.undo(volume), share.preprocessing.box, share.preprocessing.geometry.size
    )


def _predictions_of(share: Scores) -> MemberPredictions:
    if share.member_predictions is None:
        raise PlanError(
            "uncertainty: found scores without the predictions of each network, expected scores with them; "
            "compute the scores with member_predictions=True"
        )
    return share.member_predictions
