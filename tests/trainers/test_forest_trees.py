"""How trees are grown, and of how many voxels each where time is short."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from autoseg.networks.decision_trees import Trees
from autoseg.trainers import forest_budget
from autoseg.trainers.forest_budget import FEWEST, Clock, tree_voxels
from autoseg.trainers.forest_scores import Told
from autoseg.trainers.forest_trees import CANDIDATES, DEPTH, LEAF_VOXELS, arrays_of, grow_tree, in_bag
from autoseg.trainers.forest_voxels import Voxels


def voxels(count, features=12):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(features, count)).astype(np.float32)
    labels = (values[:3].sum(axis=0) > 0) + (values[4] > 1).astype(np.int64)
    return Voxels(torch.from_numpy(values), labels, np.ones(count))


@pytest.mark.parametrize("sample", [1, 50, 400])
def test_a_tree_is_scikit_learns_of_all_voxels_that_weighs_those_drawn(sample):
    known, seed = voxels(400), (3, 1)
    rng = np.random.default_rng(seed)
    weights = np.bincount(rng.integers(400, size=sample), minlength=400)
    assert np.array_equal(weights > 0, in_bag(known, sample=sample, seed=seed))
    forest = RandomForestClassifier(
        n_estimators=1,
        criterion="entropy",
        max_depth=DEPTH,
        max_features=min(CANDIDATES, 12),
        min_samples_leaf=LEAF_VOXELS,
        bootstrap=False,
        random_state=int(rng.integers(2**31)),
    ).fit(known.features.numpy().T, known.labels, sample_weight=weights)
    expected = arrays_of(forest.estimators_[0].tree_, forest.classes_, 3)
    found = grow_tree(known, labels=3, sample=sample, seed=seed)
    assert all(torch.equal(getattr(found, item.name), getattr(expected, item.name)) for item in fields(Trees))


@pytest.fixture
def growing(monkeypatch):
    """Let trees take these seconds, one after the other, on a clock that nothing else moves."""

    def take(*seconds):
        ticks, now = iter(seconds), [0.0]

        def grow(*_, **__):
            now[0] += next(ticks)

        monkeypatch.setattr(forest_budget, "grow_tree", grow)
        still = SimpleNamespace(perf_counter=lambda: now[0], monotonic=lambda: 0.0)
        monkeypatch.setattr(forest_budget, "time", still)

    return take


@pytest.mark.parametrize(("seconds", "expected"), [(1e4, 8 * FEWEST), (1e-3, FEWEST)])
def test_loading_scikit_learn_is_no_part_of_a_trees_time(growing, seconds, expected):
    known, clock = Told.nothing(voxels(8 * FEWEST, features=5), 3), Clock(seconds, 0.0, 0.0)
    # A second for 5,000 voxels would be twenty for all of them.
    growing(1.0, 1e-6)
    assert tree_voxels(known, clock, trees=1000, threads=1) == expected


def test_trees_have_as_many_voxels_as_the_time_allows(growing):
    """A tree of n voxels takes n log n."""
    known = Told.nothing(voxels(8 * FEWEST, features=5), 3)
    pace = 0.05 / (forest_budget.REHEARSED * np.log2(forest_budget.REHEARSED))
    wanted = 4 * FEWEST
    seconds = 100 * pace * wanted * np.log2(wanted) / forest_budget.SHARE_FOR_GROWING
    growing(1.0, 0.05)
    clock = Clock(seconds / forest_budget.SAFETY, 0.0, 0.0)
    assert wanted - 1 <= tree_voxels(known, clock, trees=100, threads=1) <= wanted
