"""Averaging configurations one after the other is averaging all of them at once."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data.dataset import Dataset
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.inference.averaging import averaged
from autoseg.postprocessing.label_maps import class_on_grid, label_map, probabilities_on_grid
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord

SIZE = (4, 6, 5)
DATASET = Dataset("made", ("MR",), {"background": 0, "a": 3, "b": 7}, ".nii.gz", ())
GEOMETRY = Geometry(SIZE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()), 3)


def scores(seed, shape=SIZE):
    logits = np.random.default_rng(seed).normal(size=(3, *shape)) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    preprocessing = PreprocessingRecord(GEOMETRY, Box((0, 0, 0), SIZE), (0, 1, 2), SIZE, shape, None)
    return Scores(probabilities.astype(np.float32), preprocessing)


@given(st.lists(st.sampled_from([SIZE, (2, 9, 7)]), min_size=1, max_size=8))
@settings(max_examples=25)
def test_one_at_a_time_is_all_at_once(shapes):
    shares = [scores(seed, shape) for seed, shape in enumerate(shapes)]
    means = averaged(iter(shares))
    assert len(means) == len(set(shapes)) and sum(mean.configurations for mean in means) == len(shapes)
    for index in range(3):
        assert np.allclose(class_on_grid(means, index), class_on_grid(shares, index), atol=1e-6)
    assert np.allclose(probabilities_on_grid(means, DATASET), probabilities_on_grid(shares, DATASET), atol=2e-3)
    sums = np.sort([class_on_grid(shares, index) for index in range(3)], axis=0)
    sure = sums[-1] - sums[-2] > 1e-5
    assert np.array_equal(label_map(means, DATASET)[sure], label_map(shares, DATASET)[sure])


@given(st.integers(1, 21), st.integers(0, 100))
@settings(max_examples=25)
def test_the_mean_of_identical_members_is_each_of_them(count, seed):
    share = scores(seed)
    (mean,) = averaged([share] * count)
    assert mean.configurations == count
    assert np.allclose(mean.probabilities, share.probabilities, rtol=1e-5)
    assert np.array_equal(label_map([mean], DATASET), label_map([share], DATASET))


@given(st.integers(2, 21), st.integers(0, 100))
@settings(max_examples=25)
def test_an_outlier_shifts_the_mean_by_its_share_of_its_error(count, seed):
    good, bad = scores(seed), scores(seed + 1)
    (mean,) = averaged([good] * (count - 1) + [bad])
    shift = (bad.probabilities - good.probabilities) / count
    assert np.allclose(mean.probabilities - good.probabilities, shift, atol=1e-6)


def test_what_is_given_stays_as_it_is_unless_it_may_be_overwritten():
    shares = [scores(seed) for seed in range(3)]
    before = [share.probabilities.copy() for share in shares]
    averaged(shares)
    assert all(np.array_equal(share.probabilities, was) for share, was in zip(shares, before, strict=True))
    (mean,) = averaged(shares, overwrite=True)
    assert mean.probabilities is shares[0].probabilities


def test_a_single_configuration_is_left_alone():
    share = scores(1)
    (mean,) = averaged([share])
    assert mean.probabilities is share.probabilities and mean.configurations == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_more_than_one_is_in_memory_beside_the_sum(overwrite):
    made, alive = [], []

    def each():
        for seed in range(21):
            share = scores(seed)
            made.append(weakref.ref(share.probabilities))
            alive.append(sum(reference() is not None for reference in made))
            yield share
            del share

    (mean,) = averaged(each(), overwrite=overwrite)
    assert mean.configurations == 21
    # The first is the sum itself, or else it is copied when the second comes.
    assert alive == ([1] + [2] * 20 if overwrite else [1, 2] + [1] * 19)
