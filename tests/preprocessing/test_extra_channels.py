"""Channels that are computed beside those of the image: exact on the grid, whatever was done to the image."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from autoseg.data.dataset import CaseFiles, Dataset
from autoseg.data.declarations import read_extra_channels
from autoseg.errors import DatasetError, ImageError, PlanError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.images.orientation import Reorientation
from autoseg.images.volumes import write_labels
from autoseg.preprocessing.declared import check_declared
from autoseg.preprocessing.extra import compute, extra_channels
from autoseg.preprocessing.extra.frequency import Frequencies, in_cells
from autoseg.preprocessing.extra.grid import Grid
from autoseg.preprocessing.record import PreprocessingRecord

SIZE, SPACING = (6, 8, 10), (3.0, 1.0, 0.5)
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def grid(*, shape=None, box=None, transpose=(0, 1, 2), flips=(False, False, False), direction=UPRIGHT):
    box = box or Box((0, 0, 0), SIZE)
    cropped = tuple(box.shape[axis] for axis in transpose)
    geometry = Geometry(SIZE, SPACING, (7.0, -3.0, 20.0), tuple(float(n) for n in direction))
    return Grid(PreprocessingRecord(geometry, box, transpose, cropped, shape or cropped, None, flips), transpose)


@pytest.fixture
def files(tmp_path):
    return CaseFiles(tmp_path, "a")


def points(files, *found):
    (files.folder / "eyes").mkdir(exist_ok=True)
    (files.folder / "eyes" / "a.json").write_text(json.dumps(found))
    return {"eye": {"name": "distance", "points": "eyes", "scale": 1.0}}


def mask(files, array, where, **more):
    (files.folder / "lungs").mkdir(exist_ok=True)
    write_labels(files.folder / "lungs" / "a.nii.gz", array.astype(np.uint8), where.preprocessing.geometry)
    return {"lung": {"name": "distance", "mask": "lungs", "scale": 1.0, **more}}


def world(where, voxel):
    """Where a voxel (z, y, x) lies by ITK's rule: origin + direction · (spacing × index)."""
    geometry = where.preprocessing.geometry
    direction = np.array(geometry.direction).reshape(3, 3)
    return (geometry.origin + direction @ (np.array(voxel) * geometry.spacing)[::-1]).tolist()


def test_position_is_that_of_the_voxels_centres():
    found = compute({"place": {"name": "position"}}, grid(), None)
    for axis, channel in enumerate(found):
        along = np.moveaxis(channel, axis, 0)
        assert np.allclose(along[:, 0, 0], [(2 * k + 1) / SIZE[axis] - 1 for k in range(SIZE[axis])])
        assert (along == along[:, :1, :1]).all()


def test_position_is_relative_to_the_whole_image_by_the_axes_before_transposition():
    where = grid(box=Box((1, 2, 3), (5, 8, 9)), transpose=(2, 0, 1), flips=(False, True, False))
    (z, x), (all_z, all_y, _) = (
        compute({"place": {"name": "position", **axes}}, where, None) for axes in ({"axes": ["z", "x"]}, {})
    )
    # Axis 0 is x from voxel 3 of 10; axis 1 is z from voxel 4 of 6 backwards, which the flip counts as voxel 1.
    assert np.allclose(x[:, 0, 0], [(2 * k + 1) / 10 - 1 for k in range(3, 9)])
    assert np.allclose(z[0, :, 0], [(2 * k + 1) / 6 - 1 for k in range(1, 5)])
    assert np.array_equal(all_z, z) and np.allclose(all_y[0, 0], [(2 * k + 1) / 8 - 1 for k in range(2, 8)])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_position_stays_within_the_image_at_any_resolution(z, y, x):
    found = compute({"place": {"name": "position"}}, grid(shape=(z, y, x)), None)
    assert np.abs(found).max() < 1
    assert np.allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-6)


@pytest.mark.parametrize("direction", [UPRIGHT, TURNED])
def test_distance_to_points_is_that_of_scipy(files, direction):
    where = grid(direction=direction)
    landmarks = [(1, 2, 3), (5, 7, 0)]
    background = np.ones(SIZE)
    for voxel in landmarks:
        background[voxel] = 0
    found = compute(points(files, *(world(where, voxel) for voxel in landmarks)), where, files)
    assert np.allclose(found[0], distance_transform_edt(background, sampling=SPACING), atol=1e-4)


@pytest.mark.parametrize("signed", [False, True])
def test_distance_to_a_mask_is_that_of_scipy_wherever_the_image_is_cropped(files, signed):
    inside = np.zeros(SIZE, dtype=bool)
    inside[0:3, 1:5, 2:6] = True
    where = grid(box=Box((3, 0, 0), SIZE), transpose=(1, 0, 2), flips=(True, False, False))
    expected = distance_transform_edt(~inside, sampling=SPACING)
    if signed:
        expected -= distance_transform_edt(inside, sampling=SPACING)
    found = compute(mask(files, inside, where, signed=signed), where, files)
    reorientation = Reorientation((1, 0, 2), (True, False, False))
    assert np.allclose(found[0], reorientation.apply(expected[3:]), atol=1e-5)
    assert (found.min() < 0) == (signed and bool(inside[3:].any()))


def test_points_and_a_mask_of_them_agree_after_cropping_and_turning(files):
    where = grid(box=Box((1, 2, 0), (6, 8, 7)), transpose=(2, 1, 0), flips=(False, True, True))
    voxel = np.zeros(SIZE, dtype=bool)
    voxel[0, 4, 5] = True
    specs = points(files, world(where, (0, 4, 5))) | mask(files, voxel, where)
    by_points, by_mask = compute(specs, where, files)
    assert np.allclose(by_points, by_mask, atol=1e-4)


def test_distance_is_scaled(files):
    where, spec = grid(), points(files, [0.0, 0.0, 0.0])
    far = {"eye": {**spec["eye"], "scale": 50.0}}
    assert np.allclose(compute(far, where, files) * 50, compute(spec, where, files))


def test_the_place_to_read_a_prior_map_at_is_relative_to_the_box_or_the_image_for_a_file():
    where = grid(box=Box((3, 0, 0), SIZE), shape=(6, 4, 5))
    spec = {"name": "prior_map", "grid": [4, 4, 4], "maps": 2}
    own, of_file = (compute({"usual": {**spec, "file": file}}, where, None) for file in (None, "x.nii.gz"))
    assert np.allclose(own[0, :, 0, 0], [(2 * k + 1) / 6 - 1 for k in range(6)])
    assert (own[3] == 1).all() and of_file[0].min() > 0


def test_cells_average_what_they_cover():
    image = np.random.default_rng(0).random((4, 6, 9))
    assert np.allclose(in_cells(image, (2, 3, 3)), image.reshape(2, 2, 3, 2, 3, 3).mean(axis=(1, 3, 5)))
    assert np.allclose(in_cells(image, (4, 12, 9))[:, ::2], image)
    assert in_cells(image, (5, 5, 5)).mean() == pytest.approx(image.mean())


def test_frequencies_count_annotated_voxels_alone():
    found = Frequencies(2, (1, 1, 2))
    found.add(np.array([[[1, 1, 2, -1]]]), {1: True, 2: True})
    found.add(np.array([[[1, 0, 0, 0]]]), {1: True, 2: False})
    assert np.allclose(found.maps[0, 0, 0], [1.5 / 2, 0])
    assert np.allclose(found.maps[1, 0, 0], [0, 1])


@pytest.mark.parametrize(
    "declared, said",
    [
        ([], r"field 'extra_channels', found \[\], expected an object"),
        ({"T1": {"name": "position"}}, "field 'extra_channels.T1', found the name of a channel of the image"),
        ({"a": "position"}, "field 'extra_channels.a', found 'position', expected an object with a 'name'"),
        ({"a": {"name": "posiion"}}, "extra_channels.a': extra_channels: found 'posiion', expected one of: position"),
        ({"a": {"name": "position", "axes": ["t"]}}, "extra_channels.a'.*argument 'axes'"),
        ({"a": {"name": "distance"}}, "'points', 'mask': found none, expected the name of a folder"),
        ({"a": {"name": "distance", "points": "../x"}}, r"'points': found '../x', expected the name of a sub-folder"),
        ({"a": {"name": "distance", "points": "x", "signed": True}}, "'signed': found true, expected false"),
        ({"a": {"name": "distance", "points": "x", "scale": 0}}, "argument 'scale': found 0"),
        ({"a": {"name": "prior_map", "grid": [4, 4]}}, "'grid': found .4, 4., expected three numbers of cells"),
        ({"a": {"name": "prior_map", "file": "none.nii.gz"}}, "extra_channels.a'.*none.nii.gz"),
    ],
)
def test_bad_declarations(tmp_path, declared, said):
    with pytest.raises(DatasetError, match=said):
        found = read_extra_channels(declared, ("T1", "T2"), tmp_path / "dataset.json")
        dataset = Dataset("", ("T1", "T2"), {"background": 0, "a": 1}, ".nii.gz", (), extra_channels=found)
        check_declared(dataset, tmp_path / "dataset.json")


def test_files_that_cannot_be_used(files):
    where = grid()
    spec = {"eye": {"name": "distance", "points": "eyes"}}
    with pytest.raises(ImageError, match=r"field 'extra_channels.eye': .*a\.json: no such file, expected the points"):
        compute(spec, where, files)
    with pytest.raises(ImageError, match="expected images in a folder"):
        compute(spec, where, None)
    for found in ([], [[1.0, 2.0]], [[1.0, 2.0, "x"]]):
        with pytest.raises(ImageError, match=r"expected a list of points \[x, y, z\] in millimetres"):
            compute(points(files, *found), where, files)
    with pytest.raises(ImageError, match="found an empty mask"):
        compute(mask(files, np.zeros(SIZE), where), where, files)
    with pytest.raises(PlanError, match="expected one of"):
        extra_channels.build({"name": "nothing"})
