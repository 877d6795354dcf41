from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import CaseRecord, StoredCase
from autoseg.sampling.stream import Stream, anywhere, around, build_sampler, first_and_last, read_previous, read_region

sizes = st.tuples(*[st.integers(1, 30)] * 3)


def case(shape=(10, 12, 14), foreground=True):
    labels = np.zeros(shape, np.int16)
    if foreground:
        labels[2:4, 3:5, 4:6] = 1
        labels[7, 8, 9] = 2
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    geometry = Geometry(shape, (1, 1, 1), (0, 0, 0), tuple(np.eye(3).ravel()))
    steps = PreprocessingRecord(geometry, Box((0, 0, 0), shape), (0, 1, 2), shape, shape, None)
    places = {c: np.argwhere(labels == c) for c in (1, 2) if (labels == c).any()}
    return StoredCase(CaseRecord("a", "", steps, {}), image, labels, places)


def test_every_epoch_visits_every_case_once():
    stream = Stream(seed=0, fold=1, cases=7)
    for epoch in range(3):
        assert sorted(stream.case(7 * epoch + i) for i in range(7)) == list(range(7))
    assert [stream.case(i) for i in range(7)] != [stream.case(7 + i) for i in range(7)]


def test_a_sample_is_a_function_of_seed_fold_purpose_and_number():
    def draw(**changes):
        return Stream(**{"seed": 0, "fold": 0, "cases": 5, **changes}).rng(3).random()

    assert draw() == draw()
    assert len({draw(), draw(seed=1), draw(fold=1), draw(purpose=1)}) == 4


@pytest.mark.parametrize(("batch", "forced"), [(2, 1), (3, 1), (9, 3), (12, 4)])
def test_a_third_of_a_batch_is_forced_as_in_nnunet(batch, forced):
    sampler, where = build_sampler({"name": "foreground", "fraction": 0.33}), case()
    patch = (1, 1, 1)
    held = []
    for position in range(batch):
        starts = [
            sampler(where, patch, position=position, batch=batch, rng=np.random.default_rng(s)) for s in range(40)
        ]
        held.append(all(where.labels[start] > 0 for start in starts))
    assert held == [False] * (batch - forced) + [True] * forced


def test_classes_are_drawn_alike_however_small():
    sampler = build_sampler({"name": "foreground", "fraction": 1.0})
    drawn = [
        case().labels[sampler(case(), (1, 1, 1), position=0, batch=1, rng=np.random.default_rng(s))] for s in range(300)
    ]
    assert np.mean(np.array(drawn) == 2) == pytest.approx(0.5, abs=0.1)


def test_a_case_without_foreground_is_sampled_anywhere():
    sampler = build_sampler({"name": "foreground", "fraction": 1.0})
    start = sampler(case(foreground=False), (4, 4, 4), position=0, batch=1, rng=np.random.default_rng(0))
    assert all(0 <= s <= n - 4 for s, n in zip(start, (10, 12, 14), strict=True))


@given(sizes, sizes, st.integers(0, 1000))
def test_patches_stay_inside_larger_images_and_hold_smaller_ones(shape, patch, seed):
    rng = np.random.default_rng(seed)
    voxel = tuple(int(rng.integers(n)) for n in shape)
    for start in (anywhere(shape, patch, rng), around(voxel, shape, patch)):
        for s, n, p in zip(start, shape, patch, strict=True):
            assert (s >= 0 and s + p <= n) if p <= n else (s <= 0 and s + p >= n)
    assert all(a <= v < a + p for a, v, p in zip(around(voxel, shape, patch), voxel, patch, strict=True))


@given(sizes, sizes)
def test_smaller_images_lie_in_the_middle(shape, patch):
    first, last = first_and_last(shape, patch)
    for a, b, n, p in zip(first, last, shape, patch, strict=True):
        if p > n:
            assert a == b and abs(p - n + 2 * a) <= 1


@given(st.tuples(*[st.integers(-15, 15)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_regions_are_padded_with_zeros(start, size):
    where = case()
    image, labels = read_region(where, start, size)
    padded = np.pad(where.image[0], 40)
    box = tuple(slice(40 + s, 40 + s + n) for s, n in zip(start, size, strict=True))
    assert np.array_equal(image[0], padded[box])
    assert np.array_equal(labels, np.pad(where.labels, 40)[box])


@given(st.tuples(*[st.integers(-15, 15)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_a_previous_stages_labels_are_read_from_the_same_box(start, size):
    where = case()
    assert read_previous(where, start, size) is None
    staged = replace(where, previous=where.labels[::-1].astype(np.int8))
    mirrored = replace(where, labels=where.labels[::-1])
    assert np.array_equal(read_previous(staged, start, size), read_region(mirrored, start, size)[1])
