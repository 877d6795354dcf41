"""Foreground patches of classes that few cases have."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.augmentation import build_augmentation
from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.learning.cases import Cases
from autoseg.learning.patches import CaseFacts, PatchSource
from autoseg.preprocessing.case import Prepared
from autoseg.preprocessing.channel_layout import ChannelLayout
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import read_case_record, write_case
from autoseg.sampling.balanced import ClassSampler, class_chances, class_holders
from autoseg.sampling.stream import Stream, build_sampler

SHAPE = (6, 8, 7)
PATCH = (1, 1, 1)
COMMON, RARE = 1, 2
DATASET = Dataset("made", ("CT",), {"background": 0, "liver": COMMON, "spleen": RARE}, ".nii.gz", ())
FLOORS = st.floats(0, 1)


def draws(holders, count, **arguments):
    """Cases and classes of ``count`` foreground samples."""
    sampler = build_sampler({"name": "balanced", "fraction": 1.0, **arguments})
    return [sampler.choose(0, holders, position=0, batch=1, rng=np.random.default_rng(seed)) for seed in range(count)]


def test_a_class_in_two_of_two_hundred_cases_is_seen():
    drawn = draws({COMMON: tuple(range(200)), RARE: (7, 90)}, 2000)
    rare = [case for case, place in drawn if place == ClassSampler(RARE)]
    # A quarter of what classes drawn alike would give, and three quarters of 0.1 / 1.1: nnU-Net's rule gives 0.005.
    assert len(rare) / 2000 == pytest.approx(0.25 / 2 + 0.75 * 0.1 / 1.1, abs=0.02)
    assert Counter(rare).keys() == {7, 90} and min(Counter(rare).values()) > 0.4 * len(rare)
    assert len({case for case, place in drawn if place == ClassSampler(COMMON)}) > 190


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200), FLOORS)
def test_chances_lie_between_classes_alike_and_cases_alike(cases, floor):
    chances = class_chances(cases, floor=floor)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= floor / len(cases) - 1e-12).all()
    ratios = chances[:, None] / chances
    having = np.divide.outer(cases, cases)
    more = having >= 1
    # A class in more cases is drawn as often or more, by the square root at most.
    assert (ratios[more] >= 1 - 1e-9).all() and (ratios[more] <= np.sqrt(having[more]) + 1e-9).all()


def test_only_the_last_share_of_a_batch_is_of_a_chosen_class():
    sampler = build_sampler({"name": "balanced"})
    for batch, forced in [(2, 1), (9, 3)]:
        chosen = [
            sampler.choose(5, {RARE: (1,)}, position=position, batch=batch, rng=np.random.default_rng(0))
            for position in range(batch)
        ]
        assert [case for case, _ in chosen] == [5] * (batch - forced) + [1] * forced


def test_a_fold_without_foreground_takes_the_streams_own_cases():
    assert {case for case, _ in draws({}, 20)} == {0}


def test_only_what_was_annotated_counts():
    voxels = [{"0": 9, "1": 4}, {"1": 4, "2": 5}, {"2": 3}, {"0": 9}]
    names = ("a", "b", "c", "d")
    assert class_holders(DATASET, names, voxels) == {COMMON: (0, 1), RARE: (1, 2)}
    partly = replace(DATASET, annotated={"b": ("liver",)})
    assert class_holders(partly, names, voxels) == {COMMON: (0, 1), RARE: (2,)}
    regions = replace(DATASET, labels={}, regions={"organs": (1, 2), "spleen": (2,)}, region_order=(1, 2))
    assert class_holders(regions, names, voxels) == {1: (0, 1), 2: (1, 2)}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "balanced", "fraction": 7}, "^field 'sampling.fraction', found 7, expected 0 to 1$"),
        ({"name": "foreground", "fraction": -0.5}, "^field 'sampling.fraction', found -0.5, expected 0 to 1$"),
        ({"name": "balanced", "floor": float("nan")}, "^field 'sampling.floor', found nan, expected 0 to 1$"),
        ({"name": "balanced", "floor": "low"}, "^field 'sampling': samplers 'balanced', argument 'floor': found 'low'"),
        ({"name": "balance"}, "^field 'sampling': samplers: found 'balance', expected one of: balanced"),
        ({"name": "balanced", "classes": 3}, "it takes: fraction, floor$"),
    ],
)
def test_bad_arguments_are_told_in_one_line(spec, message):
    with pytest.raises(PlanError, match=message) as caught:
        build_sampler(spec)
    assert "\n" not in str(caught.value)


def prepared(labels):
    geometry = Geometry(SHAPE, (1, 1, 1), (0, 0, 0), tuple(np.eye(3).ravel()))
    steps = PreprocessingRecord(geometry, Box((0, 0, 0), SHAPE), (0, 1, 2), SHAPE, SHAPE, None)
    return Prepared(labels[None].astype(np.float32), labels.astype(np.int8), steps)


def source(folder, regions=(), **arguments):
    """A stream over eight cases, of which one has the rare class, and all have voxels that are ignored."""
    names = tuple(f"case_{number}" for number in range(8))
    for number, name in enumerate(names):
        labels = np.zeros(SHAPE)
        labels[0], labels[1, 2:5, 3] = -1, COMMON
        labels[4, number, 5] = RARE if number == 6 else 0
        write_case(folder, name, prepared(labels), source="", dtype="float32", seed=0, regions=regions)
    voxels = [read_case_record(folder, name).class_voxels for name in names]
    dataset = DATASET if not regions else replace(DATASET, labels={}, regions={"organs": (1, 2), "spleen": (2,)})
    made = build_augmentation(
        {"name": "none", "mirror": {"probability": 0.0}},
        dimension=3,
        patch_size=PATCH,
        spacing=(1.0,) * 3,
        mirror_axes=(),
        layout=ChannelLayout(1),
    )
    return PatchSource(
        cases=Cases(folder, names, in_memory=True),
        stream=Stream(seed=0, fold=0, cases=len(names)),
        sampler=build_sampler({"name": "balanced", "fraction": 0.5, **arguments}),
        augmentation=made,
        patch=PATCH,
        dimension=3,
        batch_size=2,
        facts=CaseFacts(annotated=np.eye(8, 3, dtype=bool)),
        holders=class_holders(dataset, names, voxels),
    )


def test_patches_hold_the_class_that_was_drawn(tmp_path):
    samples = source(tmp_path)
    labels = np.array([int(samples.sample(index).labels[0, 0, 0]) for index in range(400)]).reshape(-1, 2)
    seen = Counter(labels[:, 1].tolist())
    assert set(seen) == {COMMON, RARE}
    assert seen[RARE] / 200 == pytest.approx(0.125 + 0.75 / (1 + np.sqrt(8)), abs=0.08)
    # Elsewhere patches lie anywhere, but not where all is ignored.
    assert set(labels[:, 0]) >= {0, COMMON} and -1 not in labels[:, 0]


def test_what_was_annotated_is_that_of_the_case_that_was_drawn(tmp_path):
    samples = source(tmp_path)
    samples = replace(samples, facts=CaseFacts(annotated=np.arange(8)[:, None] == np.arange(8)))
    for index in range(1, 60, 2):
        sample = samples.sample(index)
        if sample.labels[0, 0, 0] == RARE:
            assert sample.annotated.argmax() == 6


def test_regions_are_drawn_as_classes_are(tmp_path):
    samples = source(tmp_path, regions=((1, 2), (2,)), floor=1.0)
    seen = Counter(int(samples.sample(index).labels[0, 0, 0]) for index in range(1, 400, 2))
    # The other region holds that class' voxel in one case of eight.
    assert set(seen) == {COMMON, RARE} and seen[RARE] / 200 == pytest.approx(0.5 + 0.5 / 8 / 4, abs=0.1)


def test_a_sample_depends_on_its_number_alone(tmp_path):
    samples = source(tmp_path)
    again = pickle.loads(pickle.dumps(samples))
    for index in (41, 3, 40, 0):
        one, other = samples.sample(index), again.sample(index)
        assert np.array_equal(one.image, other.image) and np.array_equal(one.labels, other.labels)
