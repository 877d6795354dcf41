"""How sure an ensemble is of a case: voxel by voxel, and as an estimate of its Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.evaluation.agreement import agreement
from autoseg.evaluation.expected_dice import expected_dice
from autoseg.inference.export import Scores, on_cropped_grid
from autoseg.inference.votes import Votes, entropy_term
from autoseg.preprocessing.crop import uncrop
from autoseg.preprocessing.resample import resample_labels


@dataclass(frozen=True)
class Uncertainty:
    """Of one case; maps [Z,Y,X] float32 lie on the file's grid, in nats, and are 0 where the image was cropped."""

    entropy: np.ndarray
    """Of the mean probabilities: how unsure the ensemble is as a whole."""
    disagreement: np.ndarray | None
    """Mutual information of label and network: the part of the entropy that is left when each network by itself is
    sure, because they are sure of different things. None for a single network."""
    agreement: dict[str, float] | None
    """Mean Dice between the networks' label maps for each class; NaN for one that none of them sees. None for a single
    network."""
    expected: dict[str, float]
    """Dice of the label map with an unknown reference that the mean probabilities let expect, for each class; NaN for
    one that it does not hold."""


def uncertainty(scores: Sequence[Scores], labels: np.ndarray, dataset: Dataset) -> Uncertainty:
    """Measure how sure the networks that made ``scores`` are of them, and of the ``labels`` [Z,Y,X] made of them.

    Each of the scores has votes.

    The entropy H of the mean probabilities falls into the mean entropy of the networks and their mutual information
    with the label (Houlsby et al., Bayesian active learning, arXiv 1112.5745, equation 2; Depeweg et al., ICML 2018,
    for ensembles). With several configurations it is the sum of two such differences: H of the mean of all minus the
    mean H of the configurations, on the file's grid, and for each configuration H of its mean minus the mean H of its
    networks, on the grid where they were computed. Both are exact there, since interpolation comes after, and neither
    is below 0. For regions H is the sum of those of each region and its complement.
    """
    steps = scores[0].steps
    votes = [_votes(share) for share in scores]
    exclusive = not dataset.regions
    entropy, between = np.zeros((2, *steps.cropped_shape), dtype=np.float32)
    cropped, expected = steps.turn.apply(labels[steps.box.slices]), {}
    names = [*([] if dataset.regions else [None]), *dataset.classes]
    for index, name in enumerate(names):
        shares = [on_cropped_grid(share.probabilities[index], share.steps) for share in scores]
        mean = np.asarray(np.mean(shares, axis=0, dtype=np.float32))
        if name is not None:
            expected[name] = expected_dice(mean, np.isin(cropped, dataset.classes[name]))
        term = entropy_term(mean, exclusive=exclusive)
        entropy += term
        if len(shares) > 1:
            between += term - np.mean([entropy_term(share, exclusive=exclusive) for share in shares], axis=0)
    networks = sum(len(each.labels) for each in votes)
    if networks == 1:
        return Uncertainty(_on_file_grid(entropy, scores[0]), None, None, expected)
    disagreement = np.maximum(between, 0)
    for share, each in zip(scores, votes, strict=True):
        disagreement += on_cropped_grid(_within(share, each, exclusive), share.steps) / np.float32(len(scores))
    found = agreement(_label_maps(scores, votes), dataset.class_indices)
    return Uncertainty(_on_file_grid(entropy, scores[0]), _on_file_grid(disagreement, scores[0]), found, expected)


def _within(share: Scores, votes: Votes, exclusive: bool) -> np.ndarray:
    """Return the mutual information [Z,Y,X] of label and network within a configuration, on its own grid."""
    information = -votes.mean_entropy
    for probability in share.probabilities:
        information += entropy_term(probability, exclusive=exclusive)
    return np.maximum(information, 0, out=information)


def _label_maps(scores: Sequence[Scores], votes: Sequence[Votes]) -> list[np.ndarray]:
    """Return every network's label map, on a grid that all have: their own where there is one configuration."""
    if len(scores) == 1:
        return list(votes[0].labels)
    return [
        resample_labels(labels, share.steps.cropped_shape, separate_axis=share.steps.separate_axis)
        for share, each in zip(scores, votes, strict=True)
        for labels in each.labels
    ]


def _on_file_grid(volume: np.ndarray, share: Scores) -> np.ndarray:
    return uncrop(share.steps.turn.undo(volume), share.steps.box, share.steps.geometry.size)


def _votes(share: Scores) -> Votes:
    if share.votes is None:
        raise PlanError("uncertainty: found scores without votes; compute them with votes=True")
    return share.votes
