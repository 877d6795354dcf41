from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.images.crop import Box, nonzero_box, uncrop

images = arrays(np.float32, st.tuples(*[st.integers(1, 6)] * 4), elements=st.sampled_from([0.0, 0.0, 0.0, -1.0, 2.0]))


def test_the_box_holds_what_any_channel_holds():
    image = np.zeros((2, 5, 6, 7), np.float32)
    image[0, 1, 2, 3] = 1
    image[1, 3, 2, 5] = -1
    box = nonzero_box(image)
    assert box == Box((1, 2, 3), (4, 3, 6))
    assert box.shape == (3, 1, 3)


def test_an_image_of_zeros_keeps_its_extent():
    assert nonzero_box(np.zeros((1, 2, 3, 4))) == Box((0, 0, 0), (2, 3, 4))


@given(images)
def test_the_box_is_the_smallest_that_loses_nothing(image):
    box = nonzero_box(image)
    for channel in image:
        assert np.array_equal(uncrop(channel[box.slices], box, channel.shape), channel)
    inside = (image != 0).any(axis=0)[box.slices]
    if inside.any():
        for axis in range(3):
            assert inside.take(0, axis=axis).any() and inside.take(-1, axis=axis).any()


def test_the_kind_of_number_is_kept():
    box = Box((0, 1, 0), (1, 2, 1))
    assert uncrop(np.ones((1, 1, 1), np.uint16), box, (2, 2, 2)).dtype == np.uint16
