from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from autoseg.networks.decision_trees import joined, separated, summed_shares
from autoseg.trainers.forest.trees import arrays_of


def fitted(seed=0, *, samples=300, features=6, labels=3, trees=5, rounded=False):
    """A scikit-learn forest and data that it has not seen, some of it right on thresholds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features)).astype(np.float32)
    x = np.rint(x * 2) / 2 if rounded else x
    y = rng.integers(labels, size=samples)
    forest = RandomForestClassifier(n_estimators=trees, random_state=seed).fit(x, y)
    unseen = rng.normal(size=(samples, features)).astype(np.float32)
    for column in range(features):
        thresholds = [t for e in forest.estimators_ for t in e.tree_.threshold[e.tree_.feature == column]]
        on = np.array(thresholds[: samples // 2], dtype=np.float32)
        unseen[: len(on), column] = on
    return forest, unseen


def arrays(forest, labels=3):
    return joined([arrays_of(tree.tree_, forest.classes_, labels) for tree in forest.estimators_])


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), rounded=st.booleans())
def test_walking_the_arrays_is_scikit_learns_prediction(seed, rounded):
    forest, unseen = fitted(seed, rounded=rounded)
    found = summed_shares(arrays(forest), torch.from_numpy(unseen.T.copy())) / 5
    np.testing.assert_allclose(found.numpy(), forest.predict_proba(unseen), rtol=0, atol=1e-6)


def test_classes_that_were_never_drawn_have_no_share():
    forest, unseen = fitted()
    forest.classes_ = np.array([0, 2, 4])
    found = summed_shares(arrays(forest, labels=5), torch.from_numpy(unseen.T.copy())) / 5
    np.testing.assert_allclose(found[:, [0, 2, 4]].numpy(), forest.predict_proba(unseen), atol=1e-6)
    assert not found[:, [1, 3]].any()


def test_trees_are_separated_as_they_were():
    forest, _ = fitted()
    parts = [arrays_of(tree.tree_, forest.classes_, 3) for tree in forest.estimators_]
    for before, after in zip(parts, separated(joined(parts)), strict=True):
        for field in dataclasses.fields(before):
            assert torch.equal(getattr(before, field.name), getattr(after, field.name)), field.name


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("children", lambda children: children * 0, "'children'"),
        ("children", lambda children: children + 10**6, "'children'"),
        ("feature", lambda feature: feature + 10, "'feature'"),
        ("feature", lambda feature: feature - 10, "'feature'"),
        ("roots", lambda roots: roots + 10**6, "'roots'"),
    ],
)
def test_arrays_that_lead_astray_are_found(name, change, said):
    trees = arrays(fitted()[0])
    assert trees.fault(6) is None
    assert said in dataclasses.replace(trees, **{name: change(getattr(trees, name))}).fault(6)
