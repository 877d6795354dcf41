"""Scores of a case: probabilities on a configuration's grid, and the predictions of its single networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from autoseg.data.dataset import Dataset
from autoseg.preprocessing.record import PreprocessingRecord

Place = tuple[slice, ...]
"""Part of a volume."""
REGION_THRESHOLD = 0.5
"""Mean probability above which a voxel belongs to a region."""


@dataclass(frozen=True)
class Scores:
    """Probabilities [outputs,Z,Y,X] of one configuration, or of a mean, on its grid, with the preprocessing record."""

    probabilities: np.ndarray
    preprocessing: PreprocessingRecord
    member_predictions: MemberPredictions | None = None
    """Predictions of each single network, if requested."""
    hypotheses: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Label maps [Z,Y,X] on the file's grid, by the number of the hypothesis (:mod:`autoseg.inference.hypotheses`).
    Different configurations have different numbers."""
    configurations: int = 1
    """Number of configurations in the mean; also the weight when scores are averaged."""


@dataclass(frozen=True)
class MemberPredictions:
    """Predictions of each network of one configuration, on the configuration's grid."""

    labels: np.ndarray
    """Label map of each network [networks,Z,Y,X]: index in the dataset's label values from 1, 0 for background."""
    entropy: np.ndarray
    """Sum of the entropies of each network's probabilities [Z,Y,X] float32, in nats."""

    @classmethod
    def empty(cls, networks: int, shape: tuple[int, ...], dataset: Dataset) -> MemberPredictions:
        """Return predictions filled with zeros, to which :meth:`count` adds."""
        dtype = np.uint8 if len(dataset.values) <= np.iinfo(np.uint8).max else np.uint16
        return cls(np.zeros((networks, *shape), dtype=dtype), np.zeros(shape, dtype=np.float32))

    @property
    def mean_entropy(self) -> np.ndarray:
        """Mean entropy of the networks [Z,Y,X], in nats."""
        mean: np.ndarray = self.entropy / np.float32(len(self.labels))
        return mean

    def count(self, network: int, place: Place, share: torch.Tensor, dataset: Dataset) -> None:
        """Add the probabilities [outputs,z,y,x] of one network at a place."""
        self.entropy[place] += sum(
            entropy_term(p, exclusive=not dataset.regions) for p in (output.numpy() for output in share)
        )
        self.labels[network][place] = _painted(share, dataset) if dataset.regions else share.argmax(dim=0).numpy()


def entropy_term(probability: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Return the entropy term of one output in nats.

    For an ``exclusive`` class it is −p log p, otherwise the sum of this term for a region and its complement. Terms are
    float32. Their sum over all outputs is the entropy of a softmax, or of independent regions.
    """
    p = np.clip(probability, np.float32(0), np.float32(1))
    term = -p * np.log(np.maximum(p, _TINY))
    if not exclusive:
        rest = np.float32(1) - p
        term -= rest * np.log(np.maximum(rest, _TINY))
    return term


_TINY = np.finfo(np.float32).tiny
"""Replaces 0 in a logarithm, so that 0 · log 0 is 0."""


def _painted(share: torch.Tensor, dataset: Dataset) -> np.ndarray:
    labels = np.zeros(share.shape[1:], dtype=np.int32)
    for output, value in zip(share.numpy(), dataset.region_order, strict=True):
        labels[output > REGION_THRESHOLD] = dataset.values.index(value) + 1
    return labels
