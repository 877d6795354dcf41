"""Draw the voxels of a random forest for training and validation, and compute their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.inference.sliding_window import with_label_map
from autoseg.learning.cases import Cases
from autoseg.networks.box_features import Boxes, box_features, integral_image
from autoseg.preprocessing.previous_stage import split_label_map
from autoseg.preprocessing.store import StoredCase

BACKGROUND = 0.5
"""Share of the background among the drawn voxels, as many as of lesions (Kamnitsas 2019, 3.4.1). All classes of a case
share the rest equally."""


@dataclass(frozen=True)
class Voxels:
    """Voxels with their ``features`` [F,N] float32 and ``labels`` [N] int64, the indices of preprocessed label maps.

    ``weights`` [N] float64: number of voxels of the same label in the same case that each drawn voxel represents.
    """

    features: torch.Tensor
    labels: np.ndarray
    weights: np.ndarray


def draw_voxels(
    cases: Cases, boxes: Boxes, *, count: int, seed: Sequence[int], dimension: int, previous_labels: int
) -> Voxels:
    """Draw about ``count`` voxels, the same number from each case; ``seed`` and i seed the generator of case i.

    In 2D, the context of a voxel is its slice.
    """
    parts, labels, weights = [], [], []
    for index in range(len(cases)):
        case, rng = cases[index], np.random.default_rng([*seed, index])
        truth = np.asarray(case.labels[:]).ravel()
        places = _places(truth, max(1, round(count / len(cases))), rng)
        if not places:
            continue
        drawn = np.concatenate(list(places.values()))
        order = np.argsort(drawn)
        parts.append(_features(case, drawn[order], boxes, dimension=dimension, previous_labels=previous_labels))
        labels.append(truth[drawn[order]].astype(np.int64))
        each = [np.full(len(some), np.count_nonzero(truth == label) / len(some)) for label, some in places.items()]
        weights.append(np.concatenate(each)[order])
    total = sum(map(len, labels))
    # Copy case by case: concatenation would need twice the memory.
    features = torch.empty(len(boxes), total)
    first = 0
    while parts:
        part = parts.pop(0)
        features[:, first : first + part.shape[1]] = part
        first += part.shape[1]
    empty = np.zeros(0)
    return Voxels(features, np.concatenate([empty.astype(np.int64), *labels]), np.concatenate([empty, *weights]))


def _places(truth: np.ndarray, count: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Draw flat indices of voxels for each label of a case; ignored voxels, which are negative, are left out."""
    found = [int(label) for label in np.unique(truth) if label >= 0]
    shares = {label: BACKGROUND if label == 0 else (1 - BACKGROUND) / len(set(found) - {0}) for label in found}
    chosen = {}
    for label, share in shares.items():
        voxels = np.flatnonzero(truth == label)
        most = min(len(voxels), max(1, round(share * count)))
        chosen[label] = rng.choice(voxels, most, replace=False)
    return chosen


def _features(
    case: StoredCase, drawn: np.ndarray, boxes: Boxes, *, dimension: int, previous_labels: int
) -> torch.Tensor:
    """Return the features of voxels, given by ascending flat indices, as in prediction; [F,N] float32."""
    image = np.asarray(case.image[:], dtype=np.float32)
    image = with_label_map(image, None if case.previous is None else case.previous[:])
    images = torch.from_numpy(image).movedim(1, 0) if dimension == 2 else torch.from_numpy(image)[None]
    voxels, size = torch.from_numpy(drawn), images[0, 0].numel()
    parts = []
    for number in torch.unique(voxels // size).tolist():
        inside = voxels[voxels // size == number] % size
        (channels,) = split_label_map(images[number : number + 1], previous_labels)
        parts.append(box_features(boxes, integral_image(channels), inside))
    return torch.cat(parts, dim=1)
