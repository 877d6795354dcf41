"""Slices of DICOM series become the volumes that they were written from, or are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from autoseg.errors import ImageError
from autoseg.images.dicom.headers import find_dicom, read_slice
from autoseg.images.dicom.stacks import Stack, Unusable, find_stacks, read_stack

AXIAL = ((1, 0, 0), (0, 1, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
CORONAL = ((1, 0, 0), (0, 0, -1))
OBLIQUE = tuple(map(tuple, Rotation.from_euler("xyz", [20, -15, 10], degrees=True).as_matrix().T[:2]))


def stacks_in(folder):
    return find_stacks(filter(None, map(read_slice, find_dicom(folder))))


def the_stack(folder):
    (found,) = stacks_in(folder)
    assert isinstance(found, Stack), found
    return found


def refusal(folder):
    (found,) = stacks_in(folder)
    assert isinstance(found, Unusable) and "\n" not in found.reason
    return found.reason


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_a_series_is_what_simpleitk_reads_of_it(tmp_path, series, voxels, directions):
    uid = series(tmp_path, voxels, directions=directions)
    volume = read_stack(the_stack(tmp_path))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), uid))
    expected = reader.Execute()
    assert np.array_equal(volume.array[0], sitk.GetArrayFromImage(expected))
    assert np.array_equal(volume.array[0], voxels.astype(np.float32) - 1024)
    np.testing.assert_allclose(volume.geometry.spacing[::-1], expected.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(volume.geometry.origin, expected.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.geometry.direction, expected.GetDirection(), atol=1e-6)


def test_slices_are_sorted_by_where_they_lie_whatever_they_are_called(tmp_path, series, voxels):
    names = np.random.default_rng(1).permutation([f"{n}.dcm" for n in "abcdef"]).tolist()
    series(tmp_path, voxels, names=names, InstanceNumber=1)
    stack = the_stack(tmp_path)
    assert [path.name for path in stack.files] == names
    assert np.array_equal(read_stack(stack).array[0], voxels - np.float32(1024))


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path, series, voxels):
    slopes = [1.0, 0.5, 0.125, 3.0, 0.001, 2.5]
    series(tmp_path, voxels, slopes=slopes, intercept=10.0)
    expected = voxels * np.array(slopes)[:, None, None] + 10
    np.testing.assert_allclose(read_stack(the_stack(tmp_path)).array[0], expected, rtol=1e-6)


@pytest.mark.parametrize("left_out", [(3,), (2, 3)])
def test_missing_slices_are_counted_and_placed(tmp_path, series, voxels, left_out):
    series(tmp_path, voxels, leave_out=left_out)
    count = "1 slice is missing" if len(left_out) == 1 else "2 slices are missing"
    assert f"thorax: {count} between {left_out[0] - 1:04d}.dcm and 0004.dcm" in refusal(tmp_path)


def test_uneven_slices(tmp_path, series, voxels):
    series(tmp_path, voxels[:3])
    series(
        tmp_path, voxels[3:], origin=(-30.0, 20.0, 108.5), uid=the_stack(tmp_path).slices[0].series, names=list("abc")
    )
    assert "slices are 3.5 mm apart between 0002.dcm and a, elsewhere 2.5 mm" in refusal(tmp_path)


@pytest.mark.parametrize("degrees", [-20, 5, 15])
def test_a_tilted_gantry_is_told(tmp_path, series, voxels, degrees):
    series(tmp_path, voxels, shear=(0.0, 2.5 * np.tan(np.radians(degrees)), 0.0))
    assert f"tilted by {abs(degrees):.1f}°" in refusal(tmp_path)


def test_what_rounding_does_to_positions_is_no_tilt(tmp_path, series, voxels):
    series(tmp_path, voxels, shear=(0.01, -0.01, 0.002))
    assert the_stack(tmp_path).geometry.size == voxels.shape


@pytest.mark.parametrize(
    ("tag", "values"),
    [("AcquisitionNumber", (1, 2)), ("TemporalPositionIdentifier", (1, 2)), ("EchoTime", (2.3, 4.6))],
)
def test_phases_of_one_series_are_volumes_of_their_own(tmp_path, series, voxels, tag, values):
    other = voxels[::-1] // 2
    series(tmp_path / "a", voxels, uid="1.2.3", **{tag: values[0]})
    series(tmp_path / "b", other, uid="1.2.3", **{tag: values[1]})
    first, second = stacks_in(tmp_path)
    assert np.array_equal(read_stack(first).array[0] + 1024, voxels)
    assert np.array_equal(read_stack(second).array[0] + 1024, other)
    assert first.title == f"thorax {tag} {values[0]}" and second.phase == f"{tag} {values[1]}"


def test_slices_in_one_place_that_nothing_tells_apart(tmp_path, series, voxels):
    series(tmp_path / "a", voxels, uid="1.2.3")
    series(tmp_path / "b", voxels, uid="1.2.3")
    assert "0000.dcm and 0000.dcm have the same position (12 slices in 6 places)" in refusal(tmp_path)


def test_two_halves_of_a_body_are_no_phases(tmp_path, series, voxels):
    series(tmp_path / "a", voxels[:3], uid="1.2.3", AcquisitionNumber=1)
    series(tmp_path / "b", voxels[3:], uid="1.2.3", AcquisitionNumber=2, origin=(-30.0, 20.0, 110.0))
    assert "1 slice is missing" in refusal(tmp_path)


def test_two_series_in_one_folder_and_a_scout_of_two_directions(tmp_path, series, voxels):
    series(tmp_path, voxels)
    series(tmp_path, voxels[:2], description="scout", uid="1.2.3", names=["s0", "s1"])
    series(tmp_path, voxels[:1], description="scout", uid="1.2.3", directions=SAGITTAL, names=["s2"])
    sizes = sorted((stack.title, stack.geometry.size) for stack in stacks_in(tmp_path))
    assert sizes == [("scout", (1, 7, 9)), ("scout", (2, 7, 9)), ("thorax", (6, 7, 9))]


def test_a_single_slice_is_as_thick_as_it_says(tmp_path, series, voxels):
    series(tmp_path, voxels[:1])
    assert the_stack(tmp_path).geometry.spacing == (2.5, 0.8, 0.7)


def test_files_that_do_not_say_where_they_lie(tmp_path, series, voxels):
    series(tmp_path, voxels, ImagePositionPatient=None)
    assert "0000.dcm has no position, orientation or spacing" in refusal(tmp_path)


def test_rows_and_columns_that_are_askew(tmp_path, series, voxels):
    series(tmp_path, voxels, directions=((1, 0, 0), (0.3, 0.954, 0)))
    assert "rows and columns that are not at right angles" in refusal(tmp_path)


def test_frames_in_one_file(tmp_path, series, voxels):
    series(tmp_path, voxels, NumberOfFrames=2)
    assert "0000.dcm contains 2 frames" in refusal(tmp_path)


def test_reports_and_directories_are_passed_over(tmp_path, series, voxels):
    series(tmp_path, voxels, Modality="SR")
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert stacks_in(tmp_path) == []


@pytest.mark.parametrize("length", [140, 400, 700])
def test_damaged_headers_are_named(tmp_path, series, voxels, length):
    series(tmp_path, voxels)
    path = tmp_path / "0002.dcm"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ImageError, match=r"0002.dcm: .*header"):
        stacks_in(tmp_path)


def test_truncated_voxels_are_named(tmp_path, series, voxels):
    series(tmp_path, voxels)
    path = tmp_path / "0002.dcm"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ImageError, match="thorax: voxels cannot be read"):
        read_stack(the_stack(tmp_path))
