"""The slices that are shown pass through the largest structure and show every class."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.previews.planes import find_focus, widened


def test_the_largest_component_is_chosen():
    labels = np.zeros((10, 20, 30), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[5:9, 10:15, 20:29] = 1
    focus = find_focus(labels)
    assert focus.box == (slice(5, 9), slice(10, 15), slice(20, 29))
    assert labels[focus.centre] == 1 and focus.centre[0] >= 5


def test_a_small_class_is_shown_beside_a_large_one():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:18, 2:18, 2:18] = 1
    labels[4, 5, 6] = 2
    assert find_focus(labels).centre == (4, 5, 6)


def test_without_foreground_it_is_the_centre():
    focus = find_focus(np.zeros((3, 8, 10), np.uint8))
    assert focus.centre == (1, 4, 5) and focus.box == (slice(0, 3), slice(0, 8), slice(0, 10))


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 3), st.floats(0.02, 0.6))
def test_every_plane_cuts_the_largest_component(seed, shape, share):
    labels = (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)
    focus = find_focus(labels)
    if labels.any():
        components, _count = ndimage.label(labels, np.ones((3, 3, 3)))
        largest = max(np.bincount(components.ravel())[1:])
        for axis, index in enumerate(focus.centre):
            cut = np.unique(np.take(components, index, axis=axis))
            assert largest in [np.sum(components == number) for number in cut[cut > 0]]
    assert all(0 <= index < size for index, size in zip(focus.centre, shape, strict=True))


def test_a_box_is_widened_within_the_image():
    assert widened((slice(0, 4), slice(5, 7), slice(8, 10)), (10, 10, 10), 0.5) == (
        slice(0, 6),
        slice(4, 8),
        slice(7, 10),
    )
