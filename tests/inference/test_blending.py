from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoseg.inference.blending import blended, home_of, share_held, tiling_of
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities
from autoseg.inference.tiles import gaussian_weights

CPU = torch.device("cpu")
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
"""Patch, and by how much the image is longer."""


def forward(tiles):
    """Two outputs that depend on where in the tile a voxel is, as those of a network do."""
    ramp = torch.arange(tiles[0, 0].numel(), dtype=torch.float32).reshape(tiles.shape[2:])
    return torch.cat([tiles * ramp.cos(), tiles - ramp], dim=1)


def in_one_piece(images, tiling):
    """Blend with all logits in memory."""
    weights = gaussian_weights(tiling.patch)
    total, norm = torch.zeros(len(images), 2, *images.shape[2:]), torch.zeros(images.shape[2:])
    for start in tiling.starts:
        place = tuple(slice(s, s + n) for s, n in zip(start, tiling.patch, strict=True))
        total[(..., *place)] += forward(images[(..., *place)]) * weights
        norm[place] += weights
    return total / norm


@given(axes=st.lists(SIZES, min_size=2, max_size=3), axis=st.integers(0, 2), together=st.integers(1, 5))
@settings(max_examples=60)
def test_parts_are_what_they_are_in_one_piece(axes, axis, together):
    patch = tuple(p for p, _ in axes)
    shape = tuple(p + more for p, more in axes)
    images = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    tiling = tiling_of(shape, patch, together=together, axis=axis % len(patch))
    parts = [(first, part.clone()) for first, part in blended(forward, images, 2, tiling)]
    assert [first for first, _ in parts] == [
        0,
        *np.cumsum([part.shape[tiling.axis + 2] for _, part in parts])[:-1].tolist(),
    ]
    whole = torch.cat([part for _, part in parts], dim=tiling.axis + 2)
    assert torch.equal(whole, in_one_piece(images, tiling))


def test_what_is_held_does_not_grow_along_the_axis():
    held = [tiling_of((length, 32, 32), (16, 16, 16), together=2).rows_held for length in (64, 128, 1024)]
    assert max(held) <= 24
    assert share_held((1024, 32, 32), (16, 16, 16), together=2) < 0.03


def test_an_image_is_taken_along_the_axis_of_most_patches():
    assert tiling_of((20, 300, 200), (20, 60, 60), together=1).axis == 1


class Place(nn.Module):
    """Says something else in each place of a tile."""

    divisor = (1, 1, 1)

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def forward(self, image):
        noise = torch.randn(1, 3, *image.shape[2:], generator=torch.Generator().manual_seed(self.seed))
        return [image[:, :1] * noise]


@pytest.mark.parametrize("patch", [(4, 4, 4), (4, 30, 4), (30, 4, 4)])
def test_a_file_takes_the_same_probabilities_as_memory(patch, tmp_path):
    from autoseg.inference.scratch import mapped_array

    image = np.random.default_rng(0).normal(size=(1, 9, 11, 13)).astype(np.float32)
    networks = [Place(seed) for seed in range(3)]
    settings = TilingSettings(patch, 3, (0,))
    found = predict_probabilities(networks, image, settings, CPU)
    out = mapped_array(tmp_path, (3, 9, 11, 13))
    assert isinstance(out, np.memmap) and not list(tmp_path.iterdir()), "the file has no name and goes with the array"
    assert np.array_equal(predict_probabilities(networks, image, settings, CPU, out=out), found)
    alone = [predict_probabilities([network], image, settings, CPU) for network in networks]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)


def test_networks_are_watched_voxel_by_voxel():
    image = np.random.default_rng(0).normal(size=(1, 9, 11, 13)).astype(np.float32)
    networks, settings = [Place(0), Place(1)], TilingSettings((4, 4, 4), 3)
    seen = np.full((2, 3, 9, 11, 13), np.nan, np.float32)

    def watch(index, place, share):
        assert np.isnan(seen[(index, slice(None), *place)]).all(), "nothing is shown twice"
        seen[(index, slice(None), *place)] = share.numpy()

    predict_probabilities(networks, image, settings, CPU, watch=watch)
    for network, found in zip(networks, seen, strict=True):
        assert np.array_equal(found, predict_probabilities([network], image, settings, CPU))


def test_logits_that_a_gpu_has_no_room_for_are_held_by_the_cpu(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (800, 10_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert home_of(gpu, 500) == gpu
    assert home_of(gpu, 501) == CPU
    assert home_of(CPU, 10**15) == CPU
