from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from autoseg.augmentation.ball import OPERATIONS, Ball, closed, dilated, eroded, opened
from autoseg.augmentation.morphology import BallOperation, Morphology, change_borders

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 20))
MASKS = SHAPES.flatmap(lambda shape: arrays.arrays(bool, shape))
BALLS = st.builds(Ball, st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.3, 5.0]), st.sampled_from([(1, 1, 1), (2.5, 1, 1.2)]))
LABELS = SHAPES.flatmap(lambda shape: arrays.arrays(np.int16, shape, elements=st.integers(0, 3)))


def structure(ball):
    """The ball as scipy wants it."""
    axes = [np.arange(-n, n + 1) * edge for n, edge in zip(ball.reach, ball.spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 <= ball.radius**2 + 1e-6


@given(MASKS, BALLS)
def test_dilation_and_erosion_are_scipys(mask, ball):
    element = structure(ball)
    assert np.array_equal(dilated(mask, ball), ndimage.binary_dilation(mask, element))
    assert np.array_equal(eroded(mask, ball), ndimage.binary_erosion(mask, element, border_value=1))


@given(MASKS, BALLS)
def test_opening_and_closing_are_scipys_away_from_the_edges(mask, ball):
    element = structure(ball)
    padded = np.pad(mask, [(2 * n, 2 * n) for n in ball.reach])
    assert np.array_equal(opened(padded, ball), ndimage.binary_opening(padded, element))
    assert np.array_equal(closed(padded, ball), ndimage.binary_closing(padded, element))


@given(MASKS, BALLS)
def test_operations_grow_or_shrink_and_repeating_the_last_two_changes_nothing(mask, ball):
    assert not (eroded(mask, ball) & ~mask).any() and not (mask & ~dilated(mask, ball)).any()
    assert np.array_equal(opened(opened(mask, ball), ball), opened(mask, ball))
    assert np.array_equal(closed(closed(mask, ball), ball), closed(mask, ball))


@given(LABELS, st.integers(1, 3), st.integers(0, 3), st.sampled_from([1.0, 2.0, 4.5]))
def test_one_label_changes_as_if_it_were_alone_and_takes_from_the_others(labels, label, operation, radius):
    before, mask = labels.copy(), labels == label
    expected = OPERATIONS[operation](mask, Ball(radius, (3.0, 1.0, 1.0))) if mask.any() else mask
    change_borders(labels, [BallOperation(label, operation, radius)], (1.5, 0.5, 0.5))
    assert np.array_equal(labels == label, expected)
    assert (labels[mask & ~expected] == 0).all()
    elsewhere = ~mask & ~expected
    assert np.array_equal(labels[elsewhere], before[elsewhere])


def test_slices_are_changed_within_themselves():
    labels = np.zeros((20, 20), np.int16)
    labels[10, 10] = 1
    disc = structure(Ball(2.0, (9.0, 1.0, 1.0)))[0]
    expected = ndimage.binary_dilation(labels, disc)
    change_borders(labels, [BallOperation(1, 0, 2.0)], (0.5, 0.5))
    assert np.array_equal(labels, expected)


def test_operations_follow_each_other():
    labels = np.array([[[1, 1, 1, 2, 2, 2]]], np.int16)
    change_borders(labels, [BallOperation(1, 0, 1.0), BallOperation(2, 0, 2.0)], (1, 1, 1))
    assert labels.tolist() == [[[1, 1, 2, 2, 2, 2]]]


def test_what_is_drawn_has_nnunets_probabilities():
    settings, count, labels = Morphology(), 3000, 4
    drawn = [settings.sample(np.random.default_rng(seed), labels) for seed in range(count)]
    operations = [one for several in drawn for one in several]
    # A sample that is chosen changes none of its four labels once in sixteen times.
    assert np.mean([bool(several) for several in drawn]) == pytest.approx(0.4 * 15 / 16, abs=0.04)
    assert len(operations) / count == pytest.approx(0.4 * 0.5 * labels, abs=0.06)
    assert np.bincount([one.label for one in operations], minlength=5)[1:].min() > 0.2 * len(operations)
    assert np.bincount([one.operation for one in operations]).min() > 0.2 * len(operations)
    radii = [one.radius for one in operations]
    assert 1 <= min(radii) < 1.1 and 7.9 < max(radii) <= 8
    assert all(len({one.label for one in several}) == len(several) for several in drawn)
    assert len({several[0].label for several in drawn if several}) == labels, "no label always comes first"
