from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from autoseg.networks.box_features import Boxes, block_features, box_features, draw_boxes, integral_image


def described(boxes, image):
    """All features of all voxels, [F,*space]."""
    image = torch.from_numpy(image)
    voxels = torch.arange(image[0].numel())
    return box_features(boxes, integral_image(image), voxels).view(-1, *image.shape[1:]).numpy()


def by_hand(boxes, image, feature, voxel):
    """One feature of one voxel, from the definition."""
    means = []
    for channel, low, high in zip(boxes.channels[feature], boxes.low[feature], boxes.high[feature], strict=True):
        part = image[channel]
        for axis, (place, a, b) in enumerate(zip(voxel, low.tolist(), high.tolist(), strict=True)):
            n = image.shape[1 + axis]
            inside = [i for i in range(place + a, place + b) if 0 <= i < n] or [0 if place + b <= 0 else n - 1]
            part = part.take(inside, axis)
        means.append(part.astype(np.float64).mean())
    return means[0] - boxes.second[feature].item() * means[1]


@pytest.mark.parametrize("size", [3, 5])
def test_centred_boxes_are_scipys_uniform_filter(size):
    image = np.random.default_rng(0).normal(size=(1, 9, 10, 11)).astype(np.float32)
    ends = torch.full((1, 2, 3), -(size // 2))
    boxes = Boxes(torch.zeros(1, 2, dtype=torch.int64), ends, ends + size, torch.zeros(1))
    inner = (slice(size // 2, -(size // 2)),) * 3
    expected = uniform_filter(image[0].astype(np.float64), size)
    np.testing.assert_allclose(described(boxes, image)[0][inner], expected[inner], rtol=0, atol=1e-6)


@given(seed=st.integers(0, 2**16), axes=st.integers(2, 3), channels=st.integers(1, 3), data=st.data())
def test_any_feature_is_what_its_definition_says(seed, axes, channels, data):
    rng = np.random.default_rng(seed)
    spacing = data.draw(st.lists(st.sampled_from([0.7, 3.0, 8.0]), min_size=axes, max_size=axes))
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=axes, max_size=axes)))
    boxes = draw_boxes(12, channels=channels, spacing=spacing, rng=rng)
    image = rng.normal(size=(channels, *shape)).astype(np.float32)
    found = described(boxes, image)
    for feature in range(12):
        voxel = tuple(int(rng.integers(n)) for n in shape)
        assert found[(feature, *voxel)] == pytest.approx(by_hand(boxes, image, feature, voxel), abs=1e-5)


def test_blocks_are_described_as_their_voxels():
    image = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 6, 20, 30)).astype(np.float32))
    boxes = draw_boxes(50, channels=2, spacing=(3.0, 1.0, 1.0), rng=np.random.default_rng(5))
    block = slice(1, 5), slice(0, 20), slice(11, 30)
    found = block_features(boxes, integral_image(image), block)
    expected = described(boxes, image.numpy())[(slice(None), *block)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_the_first_features_are_the_channels_themselves():
    image = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    boxes = draw_boxes(6, channels=2, spacing=(1.0, 1.0, 1.0), rng=np.random.default_rng(2))
    np.testing.assert_allclose(described(boxes, image)[:2], image, atol=1e-6)


def test_boxes_reach_as_far_as_published_and_cross_channels():
    boxes = draw_boxes(4000, channels=2, spacing=(4.0, 1.0), rng=np.random.default_rng(3))
    size, centre = boxes.high - boxes.low, (boxes.high + boxes.low) / 2
    assert size.amax((0, 1)).tolist() == [5, 20] and size.min() == 1
    assert (centre.abs().amax((0, 1)) <= torch.tensor([5.5, 20.5])).all()
    assert centre.abs().amax((0, 1))[1] > 19
    assert (boxes.channels[:, 0] != boxes.channels[:, 1]).float().mean() > 0.4
