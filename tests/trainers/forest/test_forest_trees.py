"""How trees are grown, and of how many voxels each where time is short."""

from __future__ import annotations

import math
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from autoseg.learning.budget import SECONDS_PER_CASE
from autoseg.networks.decision_trees import Trees, empty_trees
from autoseg.trainers.forest import time as forest_time
from autoseg.trainers.forest.time import (
    ASKED,
    FEWEST,
    PLANNED_SHARE,
    REHEARSED,
    TOGETHER,
    Costs,
    seconds_of_a_tree,
    tree_voxels,
)
from autoseg.trainers.forest.trees import CANDIDATES, DEPTH, LEAF_VOXELS, arrays_of, grow_tree, in_bag
from autoseg.trainers.forest.voxels import Voxels

STUMP = empty_trees(trees=1, nodes=1, labels=3)


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
def rehearsed(monkeypatch):
    """Time a tree whose growing and asking take these seconds, on a clock that nothing else moves."""

    def time_of(*growing, asking):
        ticks, now = iter(growing), [0.0]

        def grow(*_, **__):
            now[0] += next(ticks)
            return STUMP

        def ask(*_):
            now[0] += asking

        monkeypatch.setattr(forest_time, "grow_tree", grow)
        monkeypatch.setattr(forest_time, "summed_shares", ask)
        monkeypatch.setattr(forest_time, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        return seconds_of_a_tree(voxels(2 * ASKED, features=5), labels=3)

    return time_of


def test_loading_scikit_learn_is_no_part_of_a_trees_time(rehearsed):
    growing, asking = rehearsed(60.0, 0.05, asking=0.8)
    costs = Costs(growing, asking, describing=0.0, predicted=ASKED, cases=0)
    assert costs.tree(REHEARSED) == pytest.approx(0.05)
    assert TOGETHER * costs.answers(REHEARSED) == pytest.approx(0.8)


@pytest.mark.parametrize("answers", [0.0, 1e-8])
def test_trees_have_as_many_voxels_as_the_time_allows(answers):
    """A tree of n voxels takes n log n to grow, and log n to be asked about each that is predicted."""
    costs = Costs(growing=1e-6, asking=answers, describing=1e-5, predicted=100_000, cases=2)
    wanted = 4 * FEWEST
    each = np.log2(wanted) * (1e-6 * wanted / 2 + answers * 100_000)
    end = 1.0 + 2 * SECONDS_PER_CASE
    left = 100 * each / PLANNED_SHARE + end
    assert wanted - 50 <= tree_voxels(8 * FEWEST, costs, left, trees=100, threads=2) <= wanted


@pytest.mark.parametrize(("seconds", "expected"), [(math.inf, 8 * FEWEST), (1e4, 8 * FEWEST), (1e-3, FEWEST)])
def test_trees_have_all_voxels_or_at_least_a_few(seconds, expected):
    costs = Costs(growing=1e-6, asking=1e-8, describing=1e-5, predicted=100_000, cases=2)
    assert tree_voxels(8 * FEWEST, costs, seconds, trees=100, threads=2) == expected
