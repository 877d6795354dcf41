"""Grow one tree of a random forest with scikit-learn; tree t depends only on its voxels and on seed, fold and t."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autoseg.networks.decision_trees import LEAF, Trees
from autoseg.trainers.forest.voxels import Voxels

DEPTH = 30
"""Maximum number of decisions from root to leaf; deeper trees were not better (Kamnitsas 2019, 3.4.1)."""
CANDIDATES = 200
"""Number of random features that each node tests (Kamnitsas 2019, 3.4.1)."""
LEAF_VOXELS = 4
"""Smallest number of voxels in a leaf: with fewer, shares are noisy, and leaves take most of a forest's memory."""


def grow_tree(voxels: Voxels, *, labels: int, sample: int, seed: tuple[int, ...]) -> Trees:
    """Grow a tree on ``sample`` voxels, drawn with replacement; ``labels`` is the number of labels with background.

    Each split maximizes the information gain.
    """
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(seed)
    counts = _times_drawn(rng, voxels, sample)
    drawn = np.flatnonzero(counts)
    forest = RandomForestClassifier(
        n_estimators=1,
        criterion="entropy",
        max_depth=DEPTH,
        max_features=min(CANDIDATES, len(voxels.features)),
        min_samples_leaf=LEAF_VOXELS,
        # The bootstrap is drawn here, so that a resumed training can draw the same out-of-bag voxels again.
        bootstrap=False,
        random_state=int(rng.integers(2**31)),
    )
    # Pass only the drawn voxels: scikit-learn would check and copy the others without using them.
    features = np.take(voxels.features.numpy().T, drawn, axis=0)
    forest.fit(features, voxels.labels[drawn], sample_weight=counts[drawn])
    return arrays_of(forest.estimators_[0].tree_, forest.classes_, labels)


def in_bag(voxels: Voxels, *, sample: int, seed: tuple[int, ...]) -> np.ndarray:
    """Return the voxels on which the tree of ``seed`` was grown, [N] bool."""
    drawn: np.ndarray = _times_drawn(np.random.default_rng(seed), voxels, sample) > 0
    return drawn


def _times_drawn(rng: np.random.Generator, voxels: Voxels, sample: int) -> np.ndarray:
    count = len(voxels.labels)
    return np.bincount(rng.integers(count, size=sample), minlength=count).astype(np.float64)


def arrays_of(tree: Any, classes: np.ndarray, labels: int) -> Trees:
    """Convert a scikit-learn tree; its columns belong to the label indices ``classes``.

    Thresholds have double precision, features single precision: rounding a threshold down does not change a decision.
    """
    leaf = tree.children_left == tree.children_right
    threshold = np.where(leaf, 0.0, tree.threshold)
    single = threshold.astype(np.float32)
    single = np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    shares = np.zeros((tree.node_count, labels), dtype=np.float32)
    value = tree.value[:, 0]
    shares[:, classes] = value / value.sum(axis=1, keepdims=True)
    children = np.stack([tree.children_left, tree.children_right], axis=1)
    return Trees(
        roots=torch.zeros(1, dtype=torch.int32),
        children=torch.from_numpy(np.where(leaf[:, None], 0, children).astype(np.int32)),
        feature=torch.from_numpy(np.where(leaf, LEAF, tree.feature).astype(np.int32)),
        threshold=torch.from_numpy(single),
        shares=torch.from_numpy(shares),
    )
