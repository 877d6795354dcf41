from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoseg.inference.empty_tiles import is_empty, saving_empty_tiles
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities

CPU = torch.device("cpu")


class Counting(nn.Module):
    """A small network whose padding shows at the borders of a tile; counts what it is given."""

    def __init__(self, axes=3, channels=1):
        super().__init__()
        torch.manual_seed(0)
        convolution, norm = (nn.Conv3d, nn.InstanceNorm3d) if axes == 3 else (nn.Conv2d, nn.InstanceNorm2d)
        self.layers = nn.Sequential(convolution(channels, 4, 3, padding=1), norm(4), convolution(4, 3, 3, padding=1))
        self.divisor, self.tiles = (1,) * axes, 0

    def forward(self, image):
        self.tiles += len(image)
        return [self.layers(image)]


def blob(value=0.0):
    """An image that holds something in one corner."""
    image = np.full((1, 32, 24, 24), value, np.float32)
    image[:, :8, :8, :8] = np.random.default_rng(0).normal(size=(8, 8, 8))
    return image


def computed(network, image, settings, monkeypatch, *, saving):
    if not saving:
        monkeypatch.setattr("autoseg.inference.sliding_window.saving_empty_tiles", lambda forward, *_: forward)
    before = network.tiles
    found = predict_probabilities([network], image, settings, CPU)
    monkeypatch.undo()
    return found, network.tiles - before


@pytest.mark.parametrize("value", [0.0, -1.3])
@pytest.mark.parametrize(("patch", "mirror"), [((8, 8, 8), ()), ((8, 8, 8), (0, 2)), ((8, 8), ()), ((24, 24), (1,))])
def test_empty_tiles_are_computed_once_and_come_out_alike(patch, mirror, value, monkeypatch):
    network, settings = Counting(len(patch)), TilingSettings(patch, 3, mirror)
    plain, all_tiles = computed(network, blob(value), settings, monkeypatch, saving=False)
    saved, few_tiles = computed(network, blob(value), settings, monkeypatch, saving=True)
    np.testing.assert_allclose(saved, plain, atol=1e-6)
    assert np.array_equal(saved.argmax(axis=0), plain.argmax(axis=0))
    assert few_tiles < 0.5 * all_tiles


def test_an_image_without_empty_tiles_is_computed_as_ever():
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    forward = Counting()
    assert saving_empty_tiles(forward, images, (8, 8, 8), ((0, 0, 0), (8, 8, 8))) is forward


def test_every_channel_has_to_be_constant():
    tiles = torch.zeros(3, 2, 4, 4)
    tiles[1, 1, 3, 3] = 1e-30
    tiles[2, 0] = 5
    assert is_empty(tiles).tolist() == [True, False, True]


@given(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=12), st.integers(1, 4))
def test_any_sequence_of_tiles_is_computed_right(kinds, together):
    """None is a tile that is not empty."""
    generator = torch.Generator().manual_seed(0)
    tiles = [torch.randn(1, 3, generator=generator) if kind is None else torch.full((1, 3), kind) for kind in kinds]
    images = torch.stack(tiles)
    forward = saving_empty_tiles(lambda tiles: tiles * 2 + 1, images, (3,), ((0,),))
    found = torch.cat([forward(part) for part in images.split(together)])
    assert torch.equal(found, images * 2 + 1)
