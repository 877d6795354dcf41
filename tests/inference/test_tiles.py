from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoseg.inference.tiles import WHOLE, fitting_patch, gaussian_weights, mirrorings, padding, tile_starts

edges = st.integers(1, 60)


@given(st.lists(st.tuples(edges, edges), min_size=2, max_size=3))
def test_tiles_cover_every_voxel_and_stay_inside(axes):
    patch, image = (tuple(n) for n in zip(*((min(p, n), n) for p, n in axes), strict=True))
    covered = np.zeros(image, bool)
    for start in tile_starts(image, patch):
        assert all(s >= 0 and s + p <= n for s, p, n in zip(start, patch, image, strict=True))
        covered[tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))] = True
    assert covered.all()


@given(st.integers(1, 200), st.integers(1, 60))
def test_neighbours_overlap_by_half_at_least(image, patch):
    starts = [start[0] for start in tile_starts((max(image, patch),), (patch,))]
    assert all(later - earlier <= max(patch / 2, 1) + 1 for earlier, later in pairwise(starts))


@given(st.lists(st.tuples(edges, edges), min_size=1, max_size=3))
def test_padding_brings_an_image_up_to_the_patch(axes):
    image, patch = (tuple(n) for n in zip(*axes, strict=True))
    for (before, after), n, p in zip(padding(image, patch), image, patch, strict=True):
        assert n + before + after == max(n, p)
        assert 0 <= before - after <= 1


@given(st.lists(st.tuples(edges, edges, st.sampled_from([1, 2, 8])), min_size=2, max_size=3))
def test_a_patch_grows_to_hold_an_image_that_is_little_larger(axes):
    axes = [(n, p * d, d) for n, p, d in axes]
    image, patch, divisor = (tuple(n) for n in zip(*axes, strict=True))
    grown = fitting_patch(image, patch, divisor)
    assert all(n % d == 0 and n >= p for n, p, d in zip(grown, patch, divisor, strict=True))
    assert np.prod(grown) <= WHOLE * np.prod(patch)
    if grown != patch:
        assert all(g >= n for g, n in zip(grown, image, strict=True))


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=2, max_size=3), st.integers(0, 100_000))
def test_a_whole_image_of_so_many_voxels_is_one_tile_whatever_the_patch(axes, least):
    image, patch = (tuple(n) for n in zip(*axes, strict=True))
    whole = tuple(max(n, p) for n, p in axes)
    is_one = np.prod(whole) <= max(least, WHOLE * np.prod(patch))
    assert fitting_patch(image, patch, (1,) * len(image), least=least) == (whole if is_one else patch)


def test_weights_are_symmetric_and_largest_in_the_middle():
    weights = gaussian_weights((8, 9, 10))
    assert float(weights.min()) > 0
    for axis in range(3):
        np.testing.assert_allclose(weights.flip(axis).numpy(), weights.numpy(), rtol=1e-5)
    assert float(weights[4, 4, 5]) == float(weights.max())


def test_every_combination_of_axes():
    assert mirrorings((0, 1)) == [(), (0,), (1,), (0, 1)]
    assert len(mirrorings((0, 1, 2))) == 8
