"""Networks with a margin: tiles lie beside each other, and what is predicted is the same whatever they are."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoseg.errors import PlanError
from autoseg.inference import sliding_window
from autoseg.inference.members import tiling_settings
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities, share_of_logits, share_of_padded
from autoseg.inference.valid_tiling import valid_tiles
from autoseg.networks import networks
from autoseg.workspace.paths import Workspace

CPU = torch.device("cpu")
SHAPES = st.tuples(*[st.integers(1, 14)] * 3)


def deepmedic(axes=3, *, factors=(1, 3), channels=2):
    torch.manual_seed(0)
    spec = {"name": "deepmedic", "features": [3, 4], "hidden": [5], "factors": list(factors), "residual": [2]}
    return networks.build(spec, in_channels=channels, outputs=3, dimension=axes).eval()


def window_for(network, learned, **more):
    patch = tuple(n + 2 * m for n, m in zip(learned, network.margin, strict=True))
    return TilingSettings(patch, 3, margin=network.margin, **more)


def image_of(shape, channels=2):
    return np.random.default_rng(0).normal(size=(channels, *shape)).astype(np.float32)


@pytest.fixture
def tiles_of(monkeypatch):
    """Return what bounds the voxels of tiles."""
    original = valid_tiles

    def bound(most):
        changed = lambda *sizes, **more: original(*sizes, **more, most=most)  # noqa: E731
        monkeypatch.setattr(sliding_window, "valid_tiles", changed)

    return bound


@given(
    image=st.lists(st.integers(1, 60), min_size=2, max_size=3),
    learned=st.integers(1, 9),
    divisor=st.integers(1, 5),
    most=st.integers(1, 40_000),
)
@settings(max_examples=100)
def test_each_voxel_is_in_one_tile_and_all_tiles_begin_on_the_grid(image, learned, divisor, most):
    axes, margin = len(image), 4
    patch = (learned + 2 * margin,) * axes
    tiles = valid_tiles(tuple(image), patch, (margin,) * axes, divisor=(divisor,) * axes, most=most)
    covered = np.zeros(image, dtype=int)
    for start in tiles.starts:
        assert all(s % divisor == 0 for s in start)
        covered[tuple(slice(s, s + n) for s, n in zip(start, tiles.output, strict=True))] += 1
        assert all(s + n <= whole for s, n, whole in zip(start, tiles.patch, tiles.padded, strict=True))
    assert (covered == 1).all()
    assert all(n % divisor == 0 for n in tiles.output)
    smallest = math.prod(-(-learned // divisor) * divisor + 2 * margin for _ in image)
    assert math.prod(tiles.patch) <= max(most, smallest)


@given(shape=SHAPES, learned=st.integers(1, 7), factors=st.sampled_from([(1,), (1, 3), (1, 2, 3), (1, [1, 3, 2])]))
@settings(max_examples=25, deadline=None)
def test_tiles_give_what_the_whole_image_gives(shape, learned, factors):
    network, image = deepmedic(factors=factors), image_of(shape)
    tiled = window_for(network, (learned,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        original = valid_tiles
        patch.setattr(sliding_window, "valid_tiles", lambda *a, **more: original(*a, **more, most=1))
        found = predict_probabilities([network], image, tiled, CPU)
    whole = [-(-n // d) * d for n, d in zip(shape, network.divisor, strict=True)]
    padded = np.pad(image, [(0, 0), *((m, m + w - n) for n, w, m in zip(shape, whole, network.margin, strict=True))])
    with torch.no_grad():
        logits = network(torch.from_numpy(padded)[None])[0][0][(slice(None), *map(slice, shape))]
    np.testing.assert_allclose(found, logits.softmax(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("mirror", [(), (0, 2)])
@pytest.mark.parametrize("axes", [2, 3])
def test_mirrored_copies_and_slices_are_the_same_in_tiles_of_any_size(axes, mirror, tiles_of):
    network, image = deepmedic(axes), image_of((5, 13, 17))
    settings = window_for(network, (3,) * axes, mirror_axes=tuple(axis for axis in mirror if axis < axes))
    found = []
    for most in (1, 3_000, 10**9):
        tiles_of(most)
        found.append(predict_probabilities([network], image, settings, CPU))
    assert found[0].shape == (3, 5, 13, 17)
    np.testing.assert_allclose(found[0].sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


class Counting(nn.Module):
    """The middle of its input, and how many tiles it has seen."""

    divisor, margin = (1, 1, 1), (2, 2, 2)

    def __init__(self):
        super().__init__()
        self.tiles = 0

    def forward(self, image):
        self.tiles += len(image)
        inside = image[:, :, 2:-2, 2:-2, 2:-2]
        return [torch.cat([inside, -inside, 2 * inside], dim=1)]


def test_empty_tiles_are_computed_once(tiles_of):
    tiles_of(1)
    network, image = Counting(), np.zeros((1, 32, 12, 12), np.float32)
    image[0, :4, :4, :4] = 1
    found = predict_probabilities([network], image, window_for(network, (4, 4, 4)), CPU)
    np.testing.assert_allclose(found, torch.from_numpy(np.concatenate([image, -image, 2 * image])).softmax(0))
    assert network.tiles < 16 < len(valid_tiles((32, 12, 12), (8, 8, 8), (2, 2, 2), most=1).starts)


def test_what_is_held_does_not_grow_along_the_axis_of_most_tiles(tiles_of):
    settings = TilingSettings((8, 8, 8), 3, margin=(2, 2, 2))
    tiles_of(512)
    held = [share_of_logits((n, 16, 16), settings) * n for n in (64, 256, 1024)]
    assert held == pytest.approx([held[0]] * 3, rel=0.1) and held[0] <= 8
    tiles = valid_tiles((64, 16, 16), (8, 8, 8), (2, 2, 2), most=512)
    assert share_of_padded((64, 16, 16), settings) == math.prod(tiles.padded) / (64 * 16 * 16)
    assert share_of_padded((64, 16, 16), TilingSettings((8, 8, 8), 3)) == 1


def test_tiles_are_larger_than_the_patches_of_training_but_bounded():
    tiles = valid_tiles((155, 240, 240), (57, 57, 57), (24, 24, 24), divisor=(3, 3, 3))
    assert 1_000_000 < math.prod(tiles.patch) <= 2_000_000
    assert len(tiles.starts) <= 32


def test_a_slice_is_one_tile_and_slices_together_are_bounded():
    network, image = deepmedic(2), image_of((40, 30, 30))
    seen = []
    network.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    predict_probabilities([network], image, window_for(network, (3, 3)), CPU)
    assert {shape[2:] for shape in seen} == {(42, 42)}
    assert sum(shape[0] for shape in seen) == 40


def test_a_patch_that_the_margin_leaves_nothing_of_is_named(made_once):
    place = Workspace(made_once / "workspace")
    plan, dataset = place.plan(), place.dataset()
    configuration = replace(plan.configuration("3d_fullres"), network={"name": "deepmedic"})
    with pytest.raises(PlanError, match=r"plan.json: field 'patch_size', found .8, 16, 16., expected at least .49, 49"):
        tiling_settings(plan, dataset, configuration, mirror=False, source=Path("plan.json"))
    larger = replace(configuration, patch_size=(57, 57, 57))
    assert tiling_settings(plan, dataset, larger, mirror=False, source=Path("plan.json")).margin == (24, 24, 24)
