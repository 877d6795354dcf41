"""Folders of DICOM series are predicted: which series is which case and channel, and what is written for them."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

import autoseg
from autoseg.data.dataset import Dataset
from autoseg.data.dicom_cases import find_dicom_cases, read_series_file
from autoseg.errors import DatasetError, ImageError
from autoseg.images.dicom.segmentation import write_segmentation
from autoseg.images.volumes import read_labels
from autoseg.inference.predictor import Predictor
from autoseg.inference.sources import find_sources

CT = Dataset("lungs", ("CT",), {"background": 0, "lung": 3, "nodule": 300}, ".nii.gz", ())
MR = replace(CT, channels=("T1", "T2"))


def names(cases):
    return [case.name for case in cases]


def test_each_sub_folder_is_a_case(tmp_path, series, voxels):
    for patient in ("b", "a"):
        series(tmp_path / patient / "study" / "1", voxels)
    (tmp_path / "empty").mkdir()
    assert names(find_sources(tmp_path, CT)) == ["a", "b"]
    case = find_dicom_cases(tmp_path / "a", CT)[0]
    assert np.array_equal(case.read(CT.channels).array[0], voxels.astype(np.float32) - 1024)


def test_a_folder_of_files_is_one_case(tmp_path, series, voxels):
    series(tmp_path / "patient 1", voxels)
    assert names(find_dicom_cases(tmp_path / "patient 1", CT)) == ["patient_1"]


def test_several_series_of_a_patient_are_cases_of_their_own(tmp_path, series, voxels):
    series(tmp_path / "p", voxels, description="lung/soft", names=list("abcdef"))
    series(tmp_path / "p", voxels, description="lung/hard", names=list("ghijkl"))
    for phase in (1, 2):
        series(tmp_path / "q" / str(phase), voxels, uid="1.2.3", AcquisitionNumber=phase)
    assert names(find_dicom_cases(tmp_path, CT)) == [
        "p_lung_hard",
        "p_lung_soft",
        "q_thorax_AcquisitionNumber_1",
        "q_thorax_AcquisitionNumber_2",
    ]
    assert names(find_dicom_cases(tmp_path, CT, {"CT": "*SOFT"})) == ["p", "q"]
    assert (
        "channel CT: found none of thorax AcquisitionNumber 1, thorax Acq"
        in find_dicom_cases(tmp_path, CT, {"CT": "*SOFT"})[1].fault
    )


def test_copies_of_a_file_count_once(tmp_path, series, voxels):
    series(tmp_path / "p" / "a", voxels)
    shutil.copytree(tmp_path / "p" / "a", tmp_path / "p" / "copy")
    (case,) = find_dicom_cases(tmp_path, CT)
    assert case.read(CT.channels).array.shape == (1, *voxels.shape)


def test_slices_that_share_one_identifier_are_no_copies(tmp_path, series, voxels):
    series(tmp_path / "p", voxels, SOPInstanceUID="1.2.3")
    (case,) = find_dicom_cases(tmp_path, CT)
    assert case.read(CT.channels).array.shape == (1, *voxels.shape)


def test_segmentations_cannot_refer_to_series_without_identifiers(tmp_path, series, voxels):
    series(tmp_path / "p", voxels, SeriesInstanceUID="", SOPInstanceUID="")
    (case,) = find_dicom_cases(tmp_path, CT)
    geometry = case.stacks[0].geometry
    assert np.array_equal(case.read(CT.channels).array[0] + 1024, voxels)
    with pytest.raises(ImageError, match=r"found no SeriesInstanceUID, SOPInstanceUID.*such as nii.gz"):
        case.check_output(tmp_path / "p.dcm", geometry)
    case.check_output(tmp_path / "p.nii.gz", geometry)


def test_a_series_in_a_folder_called_as_the_channel_is_the_one(tmp_path, series, voxels):
    series(tmp_path / "p" / "ct", voxels)
    series(tmp_path / "p" / "PET", voxels, description="pet")
    assert names(find_dicom_cases(tmp_path, CT)) == ["p"]


@pytest.fixture
def two_channels(tmp_path, series, voxels):
    folder = tmp_path / "mr"
    series(folder / "p" / "T1", voxels, description="t1_vibe")
    series(folder / "p" / "T2", voxels // 2, description="t2_tse")
    return folder


def test_channels_are_sub_folders_of_their_names(two_channels, voxels):
    for folder in (two_channels, two_channels / "p"):
        (case,) = find_dicom_cases(folder, MR)
        assert case.name == "p"
        assert np.array_equal(case.read(MR.channels).array + 1024, np.stack([voxels, voxels // 2]))


def test_a_channel_without_series_is_missing_where_it_may_be(two_channels, voxels):
    shutil.rmtree(two_channels / "p" / "T1")
    incomplete = replace(MR, optional_channels={"T1": -4.0, "T2": -4.0})
    (case,) = find_dicom_cases(two_channels, incomplete)
    volume = case.read(MR.channels)
    assert volume.missing_channels == (0,) and np.array_equal(volume.array[0] + 1024, voxels // 2)
    (case,) = find_dicom_cases(two_channels, replace(MR, optional_channels={"T2": -4.0}))
    assert "channel T1: found none of" in case.fault


def test_channels_are_told_by_descriptions(two_channels, tmp_path, voxels):
    for folder, name in (("T1", "one"), ("T2", "other")):
        (two_channels / "p" / folder).rename(two_channels / "p" / name)
    (case,) = find_dicom_cases(two_channels, MR)
    assert (
        "channel T1: found none of t1_vibe, t2_tse, expected one volume, in a sub-folder 'T1' or selected by --series"
        in case.fault
    )
    path = tmp_path / "series.json"
    path.write_text(json.dumps({"T1": "t1_*", "T2": "T2*"}))
    (case,) = find_sources(two_channels, MR, series=path)
    assert np.array_equal(case.read(MR.channels).array[1] + 1024, voxels // 2)
    (case,) = find_dicom_cases(two_channels, MR, {"T1": "t*", "T2": "t2*"})
    assert "channel T1: found t1_vibe, t2_tse, expected one volume" in case.fault


def test_phases_of_one_series_are_channels_by_their_titles(tmp_path, series, voxels):
    for phase in (1, 2):
        series(tmp_path / "p" / str(phase), voxels // phase, uid="1.2.3", AcquisitionNumber=phase)
    (case,) = find_dicom_cases(tmp_path, MR, {"T1": "thorax *1", "T2": "thorax acquisitionnumber 2"})
    assert np.array_equal(case.read(MR.channels).array + 1024, np.stack([voxels, voxels // 2]))
    (case,) = find_dicom_cases(tmp_path, MR, {"T1": "thorax", "T2": "thorax *2"})
    assert "channel T1: found thorax AcquisitionNumber 1, thorax AcquisitionNumber 2, expected one" in case.fault


def test_channels_on_other_grids(two_channels, series, voxels):
    for path in (two_channels / "p" / "T2").iterdir():
        path.unlink()
    series(two_channels / "p" / "T2", voxels, description="t2", origin=(0.0, 0.0, 0.0))
    (case,) = find_dicom_cases(two_channels, MR)
    with pytest.raises(ImageError, match=r"t2 does not lie on the grid of t1_vibe: origin"):
        case.read(MR.channels)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            [1],
            r"found \[1\], expected patterns of series descriptions such as {\"T1\": \"\*T1\*\", \"T2\": \"\*T2\*\"}",
        ),
        ({"T1": 3, "T2": "b"}, "expected patterns"),
        ({"T1": "a"}, "found T1, expected each of T1, T2"),
        ({"T1": "a", "T2": "b", "T3": "c"}, "found T1, T2, T3, expected each of T1, T2"),
    ],
)
def test_faults_of_the_series_file(tmp_path, content, said):
    (tmp_path / "series.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=said):
        read_series_file(tmp_path / "series.json", MR.channels)


def test_without_the_extra_one_line_says_what_to_install(tmp_path, series, voxels, monkeypatch):
    series(tmp_path / "p", voxels)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DatasetError, match=r"pydicom, which is not installed; pip install autoseg\[dicom\]"):
        find_sources(tmp_path, CT)


@pytest.mark.parametrize("highest", [300, 0])
def test_segmentations_hold_a_segment_for_each_class(tmp_path, series, voxels, highest):
    import highdicom

    series(tmp_path / "p", voxels, directions=((0, 1, 0), (0, 0, -1)))
    (case,) = find_dicom_cases(tmp_path, CT)
    labels = np.random.default_rng(0).choice([0, 3, highest], voxels.shape) if highest else np.zeros(voxels.shape, int)
    case.write(tmp_path / "p.dcm", labels, case.stacks[0].geometry, CT)
    made = highdicom.seg.segread(tmp_path / "p.dcm")
    assert [made.get_segment_description(n).segment_label for n in made.segment_numbers] == ["lung", "nodule"]
    uids = [item.SOPInstanceUID for item in map(pydicom_header, case.stacks[0].files)]
    found = made.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert np.array_equal(found, np.stack([labels == 3, labels == 300], axis=-1))
    volume = made.get_volume(combine_segments=True)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.8, 0.7), atol=1e-4)


def pydicom_header(path):
    import pydicom

    return pydicom.dcmread(path, stop_before_pixels=True)


def test_the_same_prediction_is_the_same_object(tmp_path, series, voxels):
    import pydicom

    series(tmp_path / "p", voxels)
    (case,) = find_dicom_cases(tmp_path, CT)
    labels = np.where(voxels > 1000, 3, 0)
    for name in ("one.dcm", "other.dcm"):
        write_segmentation(tmp_path / name, labels, case.stacks[0], CT.written_values, CT.name)
    write_segmentation(tmp_path / "third.dcm", labels * 0, case.stacks[0], CT.written_values, CT.name)
    first, second, third = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in ("one", "other", "third"))
    assert first.SOPInstanceUID == second.SOPInstanceUID != third.SOPInstanceUID


def test_label_maps_of_series_as_nifti(tmp_path, series, voxels):
    series(tmp_path / "p", voxels)
    (case,) = find_dicom_cases(tmp_path, CT)
    labels = np.where(voxels > 1000, 3, 0)
    case.write(tmp_path / "p.nii.gz", labels, case.stacks[0].geometry, CT)
    again, geometry = read_labels(tmp_path / "p.nii.gz")
    assert np.array_equal(again, labels) and not case.stacks[0].geometry.differences(geometry)


@pytest.fixture
def trained(make_predictor, threshold, monkeypatch, tmp_path):
    """A workspace that marks what is bright."""
    predictor = make_predictor(threshold(CT.outputs), CT, spacing=(2.5, 0.8, 0.7))
    monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, *_, **__: predictor))
    return tmp_path / "workspace"


def test_a_folder_is_predicted_and_its_bad_case_named(trained, tmp_path, series, voxels):
    big = np.tile(voxels, (2, 3, 3))
    series(tmp_path / "in" / "good", big)
    series(tmp_path / "in" / "tilted", big, shear=(0.0, 0.5, 0.0))
    result = autoseg.predict_folder(trained, tmp_path / "in", tmp_path / "out")
    assert result.done == ("good",) and "tilted by" in result.failed["tilted"]
    assert (tmp_path / "out" / "good.dcm").exists()
    again = autoseg.predict_folder(trained, tmp_path / "in", tmp_path / "out")
    assert again.skipped == ("good",)
    autoseg.predict_folder(trained, tmp_path / "in", tmp_path / "nifti", label_format="nii.gz")
    assert np.array_equal(read_labels(tmp_path / "nifti" / "good.nii.gz")[0] == 3, big > 1024)


@pytest.mark.real_data
def test_real_series_are_as_simpleitk_reads_them_and_their_segmentations_hold_the_mask(real_data, tmp_path):
    import SimpleITK as sitk

    highdicom = pytest.importorskip("highdicom")
    cases = find_dicom_cases(real_data / "dicom" / "images", CT)
    assert names(cases) == ["STS_001", "STS_002"], "of CT, PET and MR the folder that is called as the channel"
    for case in cases:
        volume = case.read(CT.channels)
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(case.folder / "CT"))
        expected = sitk.ReadImage(files, sitk.sitkFloat32)
        assert np.array_equal(volume.array[0], sitk.GetArrayFromImage(expected))
        np.testing.assert_allclose(volume.geometry.origin, expected.GetOrigin(), atol=1e-3)
        labels = np.where(volume.array[0] > 200, 3, 0)
        case.write(tmp_path / "seg.dcm", labels, volume.geometry, CT)
        made = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(segment_numbers=[1])
        assert np.count_nonzero(made.array) == np.count_nonzero(labels)


@pytest.mark.real_data
def test_a_compressed_series_without_identifiers(real_data):
    pytest.importorskip("pydicom")
    (case,) = find_dicom_cases(real_data / "odd" / "totalseg_ct" / "images_dicom", CT)
    volume = case.read(CT.channels)
    assert volume.array.shape == (1, 20, 512, 512) and volume.array.min() < -900
