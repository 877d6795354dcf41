"""Patches centred on foreground and background, on every class alike, and in the body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.preprocessing.case import Prepared
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import open_case, write_case
from autoseg.sampling.body import in_body as body_of
from autoseg.sampling.body import surround
from autoseg.sampling.stream import build_sampler

SHAPE = (12, 16, 14)
BODY = (slice(2, 10), slice(3, 13), slice(2, 12))
LARGE, SMALL = 1, 2
OUTSIDE = -1.75
DRAWS = 1500


def arrays(labels=True):
    """A body of noise in a constant surround, with a large and a small class; the second channel is noise all over."""
    image = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    image[0] = OUTSIDE
    image[0][BODY] = np.random.default_rng(1).uniform(-1, 3, image[0][BODY].shape)
    classes = np.zeros(SHAPE, np.int8)
    if labels:
        classes[4:8, 5:8, 4:7], classes[8, 10, 10] = LARGE, SMALL
    return image, classes


def stored(folder, *, labels=True, ignored=False, dtype="float32", regions=(), name="a"):
    image, classes = arrays(labels)
    if ignored:
        classes[:, :5] = -1
    geometry = Geometry(SHAPE, (1, 1, 1), (0, 0, 0), tuple(np.eye(3).ravel()))
    steps = PreprocessingRecord(geometry, Box((0, 0, 0), SHAPE), (0, 1, 2), SHAPE, SHAPE, None)
    prepared = Prepared(image, classes, steps)
    write_case(folder, name, prepared, source="", dtype=dtype, seed=0, regions=regions)
    return open_case(folder, name)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("case")).decoded()


def centres(spec, case, count=DRAWS):
    """The single voxels that patches of one voxel are."""
    sampler = build_sampler(spec)
    return [sampler(case, (1, 1, 1), position=0, batch=1, rng=np.random.default_rng(seed)) for seed in range(count)]


def share(spec, case, *labels):
    return np.mean([case.labels[voxel] in labels for voxel in centres(spec, case)])


def in_body(voxel):
    return all(part.start <= index < part.stop for index, part in zip(voxel, BODY, strict=True))


@pytest.mark.parametrize("fraction", [0.5, 0.2, 0.0, 1.0])
def test_half_of_the_patches_are_centred_on_foreground(case, fraction):
    spec = {"name": "half", "fraction": fraction}
    assert share(spec, case, LARGE, SMALL) == pytest.approx(fraction, abs=0.04)


def test_classes_keep_their_proportions(case):
    spec = {"name": "half", "fraction": 1.0}
    assert share(spec, case, SMALL) == pytest.approx(1 / 37, abs=0.015)


def test_every_class_is_drawn_alike_the_background_among_them(case):
    for label in (0, LARGE, SMALL):
        assert share({"name": "equal_per_class"}, case, label) == pytest.approx(1 / 3, abs=0.04)


def test_a_case_without_foreground_gives_background(tmp_path):
    empty = stored(tmp_path, labels=False)
    for name in ("half", "equal_per_class"):
        assert share({"name": name}, empty, 0) == 1


@pytest.mark.parametrize(
    "spec", [{"name": "half", "fraction": 0.0, "channel": 0}, {"name": "equal_per_class", "channel": 0}]
)
def test_background_may_be_that_of_the_body(case, spec):
    assert all(in_body(voxel) for voxel in centres(spec, case, 300))
    spec = {key: value for key, value in spec.items() if key != "channel"}
    assert not all(in_body(voxel) for voxel in centres(spec, case, 300))


def test_where_the_channel_that_tells_the_body_is_missing_another_does(tmp_path):
    image, classes = arrays()
    image = image[::-1].copy()
    image[0] = -4.0
    geometry = Geometry(SHAPE, (1, 1, 1), (0, 0, 0), tuple(np.eye(3).ravel()))
    steps = PreprocessingRecord(geometry, Box((0, 0, 0), SHAPE), (0, 1, 2), SHAPE, SHAPE, None)
    lacking = Prepared(image, classes, steps, missing_channels=(0,))
    write_case(tmp_path, "a", lacking, source="", dtype="float32", seed=0, regions=())
    inside = body_of(open_case(tmp_path, "a"), 0)
    found = np.array([inside(voxel) for voxel in np.ndindex(SHAPE)]).reshape(SHAPE)
    assert np.array_equal(found, image[1] != np.float32(OUTSIDE))


def test_every_voxel_of_the_body_is_as_likely(case):
    found = np.array(centres({"name": "masked"}, case, 4000))
    for axis, part in enumerate(BODY):
        counts = np.bincount(found[:, axis], minlength=SHAPE[axis])
        assert not counts[: part.start].any() and not counts[part.stop :].any()
        inside = counts[part]
        assert inside == pytest.approx(np.full(len(inside), 4000 / len(inside)), rel=0.2)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_surround_is_found_in_what_is_stored(tmp_path, dtype):
    case = stored(tmp_path, dtype=dtype)
    assert surround(case, 0) == pytest.approx(OUTSIDE)
    assert surround(case, 1) is None, "noise all over is no surround"


def test_without_a_surround_the_body_is_the_image(case):
    assert not all(in_body(voxel) for voxel in centres({"name": "masked", "channel": 1}, case, 300))


def test_a_body_that_is_hardly_there_does_not_hold_up(case):
    nothing = replace(case, image=np.full_like(case.image, 3.0))
    assert len(centres({"name": "masked"}, nothing, 3)) == 3


def test_ignored_voxels_are_no_centres(tmp_path):
    case = stored(tmp_path, ignored=True).decoded()
    for name in ("half", "equal_per_class", "masked"):
        assert all(case.labels[voxel] != -1 for voxel in centres({"name": name}, case, 300))


def test_regions_are_drawn_as_classes_are(tmp_path):
    case = stored(tmp_path, regions=((1, 2), (2,))).decoded()
    # The smaller region is the small class; the larger one holds it in one voxel of 37.
    assert share({"name": "equal_per_class"}, case, SMALL) == pytest.approx((1 + 1 / 37) / 3, abs=0.04)
    assert share({"name": "half"}, case, 0) == pytest.approx(0.5, abs=0.04)


@given(st.integers(0, 10_000), st.sampled_from(["half", "equal_per_class", "masked"]))
def test_a_place_depends_on_the_generator_alone(case, seed, name):
    sampler = build_sampler({"name": name})
    places = [
        sampler(case, (3, 4, 5), position=position, batch=7, rng=np.random.default_rng(seed)) for position in (0, 0, 6)
    ]
    assert places[0] == places[1] == places[2]
    assert all(0 <= start <= n - p for start, n, p in zip(places[0], SHAPE, (3, 4, 5), strict=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "half", "fraction": 2}, "^field 'sampling.fraction', found 2, expected 0 to 1$"),
        ({"name": "masked", "channel": -1}, "^field 'sampling': samplers 'masked', argument 'channel': found -1"),
        ({"name": "equal_per_class", "fraction": 0.5}, "it takes: channel$"),
    ],
)
def test_bad_arguments_are_told_in_one_line(spec, message):
    with pytest.raises(PlanError, match=message) as caught:
        build_sampler(spec)
    assert "\n" not in str(caught.value)
