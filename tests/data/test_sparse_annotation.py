"""Ignored voxels and regions in preprocessed cases and in the patches that are drawn from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.dataset import IGNORED, Dataset, write_dataset
from autoseg.data.layouts import load_dataset
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.plan.files import PLAN_VERSION
from autoseg.plan.schema import Configuration, Plan, Training
from autoseg.preprocessing.case import Prepared, label_indices
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.resample import resample_labels
from autoseg.preprocessing.run import preprocess
from autoseg.preprocessing.store import open_case, write_case
from autoseg.sampling.stream import build_sampler
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

SHAPE = (9, 20, 31)
SPARSE = Dataset("s", ("CT",), {"background": 0, "a": 1, "b": 7}, ".nii.gz", (), ignore=(3, 255))


def stored(folder, labels, regions=()):
    geometry = Geometry(SHAPE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    steps = PreprocessingRecord(geometry, Box((0, 0, 0), SHAPE), (0, 1, 2), SHAPE, SHAPE, None)
    prepared = Prepared(np.zeros((1, *SHAPE), np.float32), labels.astype(np.int8), steps)
    write_case(folder, "a", prepared, source="", dtype="float32", seed=0, regions=regions)
    return open_case(folder, "a")


@pytest.fixture
def few_slices():
    """Labels of which two slices were annotated, with class 1 in a corner of one of them."""
    labels = np.full(SHAPE, IGNORED)
    labels[[2, 6]] = 0
    labels[2, 3:5, 4:6] = 1
    return labels


def starts(sampler, case, patch, position=0, count=60):
    return [sampler(case, patch, position=position, batch=2, rng=np.random.default_rng(s)) for s in range(count)]


def test_values_become_places_and_ignored_ones_minus_one():
    assert label_indices(np.array([0, 1, 3, 7, 8, 255], np.uint8), SPARSE).tolist() == [0, 1, -1, 2, 0, -1]
    assert label_indices(np.array([0, 1], np.uint8), SPARSE).tolist() == [0, 1]
    regions = replace(SPARSE, labels={}, regions={"all": (1, 7), "b": (7,)}, region_order=(1, 7))
    assert label_indices(np.array([0, 1, 3, 7, 255], np.uint8), regions).tolist() == [0, 1, -1, 2, -1]


def test_a_large_ignored_value_that_does_not_occur_costs_no_memory():
    wild = replace(SPARSE, ignore=(2**31 - 1,))
    assert label_indices(np.array([0, 1, 7], np.uint8), wild).tolist() == [0, 1, 2]


@pytest.mark.parametrize("separate_axis", [None, 0])
def test_resampling_moves_ignored_voxels_as_it_moves_classes(separate_axis):
    labels = np.random.default_rng(0).integers(0, 3, (3, 4, 5)).repeat(3, 0).repeat(3, 1).repeat(3, 2).astype(np.int8)
    exchanged = np.array([0, 1, IGNORED], np.int8)[labels]
    moved, expected = (
        resample_labels(array, (7, 16, 11), separate_axis=separate_axis) for array in (exchanged, labels)
    )
    # Ties go to the lowest value, which the exchange alters; elsewhere nothing does.
    assert (moved == np.array([0, 1, IGNORED])[expected]).mean() > 0.97
    assert set(np.unique(moved)) == {IGNORED, 0, 1}


def test_foreground_is_never_ignored(tmp_path, few_slices):
    case = stored(tmp_path, few_slices)
    assert list(case.foreground) == [1]
    assert len(case.foreground[1]) == 4
    assert case.record.class_voxels == {"0": 2 * 20 * 31 - 4, "1": 4}
    assert set(case.annotated[:, 0]) == {2, 6}
    assert len(case.annotated) == 2 * 20 * 31
    assert np.array_equal(case.decoded().annotated, case.annotated)


def test_a_case_that_is_annotated_everywhere_stores_no_more_than_others(tmp_path, few_slices):
    assert stored(tmp_path, np.abs(few_slices)).annotated is None


def test_a_case_of_ignored_voxels_alone_can_be_drawn_from(tmp_path):
    case = stored(tmp_path, np.full(SHAPE, IGNORED))
    assert case.record.class_voxels == {}
    assert len(starts(build_sampler({"name": "foreground"}), case, (4, 4, 4))) == 60


@pytest.mark.parametrize("name", ["foreground", "uniform"])
def test_patches_that_are_not_forced_hold_annotated_voxels(tmp_path, few_slices, name):
    case, sampler = stored(tmp_path, few_slices), build_sampler({"name": name})
    drawn = starts(sampler, case, (1, 4, 4))
    assert {start[0] for start in drawn} == {2, 6}
    everywhere = starts(sampler, stored(tmp_path, np.abs(few_slices)), (1, 4, 4))
    assert {start[0] for start in everywhere} == set(range(9))


def test_forced_patches_hold_foreground(tmp_path, few_slices):
    case = stored(tmp_path, few_slices)
    drawn = starts(build_sampler({"name": "foreground"}), case, (1, 1, 1), position=1)
    assert {tuple(start) for start in drawn} == {(2, y, x) for y in (3, 4) for x in (4, 5)}


def test_regions_are_sampled_one_as_often_as_the_other(tmp_path):
    labels = np.zeros(SHAPE, int)
    labels[1:8, 2:18, 2:28], labels[4, 10, 10], labels[4, 10, 11] = 1, 2, 3
    case = stored(tmp_path, labels, regions=[(1, 2, 3), (2, 3), (3,)])
    assert {number: len(voxels) for number, voxels in case.foreground.items()} == {1: 7 * 16 * 26, 2: 2, 3: 1}
    assert case.record.class_voxels == {"0": labels.size - 7 * 16 * 26, "1": 7 * 16 * 26, "2": 2, "3": 1}
    drawn = [labels[start] for start in starts(build_sampler({"name": "foreground"}), case, (1, 1, 1), 1, 600)]
    # A third of the draws is of each region; half of those of the second fall on the third's voxel.
    assert np.mean(np.array(drawn) == 3) == pytest.approx(1 / 2, abs=0.06)
    assert np.mean(np.array(drawn) == 1) == pytest.approx(1 / 3, abs=0.06)


PHANTOM_PLAN = Configuration(
    dimension=3,
    spacing=(3.5, 2.0, 2.0),
    median_shape=(8, 12, 12),
    patch_size=(8, 8, 8),
    batch_size=2,
    normalization=({"name": "z_score"}, {"name": "z_score"}),
    network={},
    loss={},
    sampling={},
    augmentation={},
    training=Training({}, {}, iterations=1),
)
REGIONS = {"labels": {}, "regions": {"whole": (1, 2), "core": (2,)}, "region_order": (1, 2)}


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"ignore": (9,)}, True),
        (REGIONS, True),
        ({"annotated": {"phantom_000": ("body",)}}, False),
        ({"labels": {"background": 0, "renamed": 1, "core": 2}}, False),
    ],
)
def test_data_are_made_again_where_they_would_differ(phantoms, tmp_path, changes, again):
    workspace, dataset = Workspace(tmp_path / "workspace"), load_dataset(phantoms)
    dataset = replace(dataset, cases=dataset.cases[:1])
    plan = Plan(PLAN_VERSION, "phantoms", "unet", (0, 1, 2), (0, 1, 2), {"3d_fullres": PHANTOM_PLAN})
    write_dataset(workspace.dataset_file, dataset)
    assert preprocess(workspace, plan, executor=local_executor(0)) == 1
    write_dataset(workspace.dataset_file, replace(dataset, **changes))
    assert preprocess(workspace, plan, executor=local_executor(0)) == again
    assert preprocess(workspace, plan, executor=local_executor(0)) == 0
