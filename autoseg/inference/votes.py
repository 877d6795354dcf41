"""What each network of an ensemble says for itself, gathered while their probabilities are averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from autoseg.dataset import Dataset
from autoseg.inference.export import REGION_THRESHOLD
from autoseg.inference.sliding_window import Place


@dataclass(frozen=True)
class Votes:
    """Of the networks of one configuration, on its own grid."""

    labels: np.ndarray
    """Each network's label map [networks,Z,Y,X]: places in the dataset's values, from 1 on, 0 for background."""
    entropy: np.ndarray
    """Sum of the entropies of each network's probabilities [Z,Y,X] float32, in nats."""

    @classmethod
    def empty(cls, networks: int, shape: tuple[int, ...], dataset: Dataset) -> Votes:
        """Return votes in which nobody has voted yet."""
        dtype = np.uint8 if len(dataset.values) <= np.iinfo(np.uint8).max else np.uint16
        return cls(np.zeros((networks, *shape), dtype=dtype), np.zeros(shape, dtype=np.float32))

    @property
    def mean_entropy(self) -> np.ndarray:
        """Mean over the networks [Z,Y,X]."""
        mean: np.ndarray = self.entropy / np.float32(len(self.labels))
        return mean

    def count(self, network: int, place: Place, share: torch.Tensor, dataset: Dataset) -> None:
        """Add what a network says of a place: probabilities [outputs,z,y,x]."""
        self.entropy[place] += sum(
            entropy_term(p, exclusive=not dataset.regions) for p in (output.numpy() for output in share)
        )
        self.labels[network][place] = _painted(share, dataset) if dataset.regions else share.argmax(dim=0).numpy()


def entropy_term(probability: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Return what one output adds to the entropy in nats: −p log p of a class, or that of a region and its complement.

    Terms are computed in float32 and added up to the entropy of a softmax, or to that of independent regions.
    """
    p = np.clip(probability, np.float32(0), np.float32(1))
    term = -p * np.log(np.maximum(p, _TINY))
    if not exclusive:
        rest = np.float32(1) - p
        term -= rest * np.log(np.maximum(rest, _TINY))
    return term


_TINY = np.finfo(np.float32).tiny
"""In place of 0 in a logarithm: 0 · log 0 is 0."""


def _painted(share: torch.Tensor, dataset: Dataset) -> np.ndarray:
    labels = np.zeros(share.shape[1:], dtype=np.int32)
    for output, value in zip(share.numpy(), dataset.region_order, strict=True):
        labels[output > REGION_THRESHOLD] = dataset.values.index(value) + 1
    return labels
