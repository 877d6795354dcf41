from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.data.dataset import check_case_name, read_dataset, source_state, write_dataset
from autoseg.data.layouts import group_channels, load_dataset, load_folders, read_label_meaning
from autoseg.errors import DatasetError

V2 = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
V1 = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "tumour"}}


def image(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((2, 3, 4), np.uint8) if array is None else array
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path))


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def describe(folder, **fields):
    (folder / "dataset.json").write_text(json.dumps(fields))


def names(paths):
    return [path.name for path in paths]


@pytest.fixture
def two_channels(tmp_path):
    for case in ("b", "a"):
        files(tmp_path, f"imagesTr/{case}_0001.nii.gz", f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz")
    return tmp_path


def test_nnunet_v2(two_channels):
    describe(two_channels, name="brains", **V2)
    dataset = load_dataset(two_channels)
    assert (dataset.name, dataset.channels, dataset.file_ending) == ("brains", ("T1", "T2"), ".nii.gz")
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert names(dataset.case("a").images) == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert dataset.case("a").label == two_channels / "labelsTr" / "a.nii.gz"
    assert dataset.classes == {"tumour": (1,)}
    assert dataset.outputs == 2


def test_nnunet_v2_may_list_files_that_lie_anywhere(tmp_path):
    entry = {"images": ["scans/one.mha", "scans/two.mha"], "label": "truth/x.mha"}
    describe(tmp_path, **V2, dataset={"case": entry})
    (case,) = load_dataset(tmp_path).cases
    assert case.images == (tmp_path / "scans" / "one.mha", tmp_path / "scans" / "two.mha")
    assert (case.name, case.label) == ("case", tmp_path / "truth" / "x.mha")


def test_nnunet_v1_lists_images_without_their_suffix(two_channels):
    listed = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in "ab"]
    describe(two_channels, **V1, training=listed, numTraining=2)
    dataset = load_dataset(two_channels)
    assert dataset.labels == {"background": 0, "tumour": 1}
    assert names(dataset.case("b").images) == ["b_0000.nii.gz", "b_0001.nii.gz"]
    assert all(path.exists() for case in dataset.cases for path in (*case.images, case.label))


def test_the_decathlon_has_all_channels_in_one_file(tmp_path):
    files(tmp_path, "imagesTr/a.nii.gz", "imagesTr/._a.nii.gz", "labelsTr/a.nii.gz")
    describe(tmp_path, **V1, training=[{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}])
    (case,) = load_dataset(tmp_path).cases
    assert (case.name, names(case.images)) == ("a", ["a.nii.gz"])


def test_groups_and_a_gap_in_the_label_values(two_channels):
    labels = {"lesion": 7, "organ": 2}
    describe(two_channels, **{**V2, "labels": labels}, groups={"a": "patient 1", "b": "patient 2"})
    dataset = load_dataset(two_channels)
    assert dataset.groups == {"a": "patient 1", "b": "patient 2"}
    assert list(dataset.labels.items()) == [("background", 0), ("organ", 2), ("lesion", 7)]


def test_classes_may_be_called_by_numbers(two_channels):
    describe(two_channels, **{**V2, "labels": {"0": 0, "10": 1, "20": 2}})
    assert read_label_meaning(two_channels / "dataset.json").labels == {"0": 0, "10": 1, "20": 2}


def test_a_dataset_survives_writing(two_channels, tmp_path):
    describe(two_channels, **V2, groups={"a": "p", "b": "q"})
    dataset = load_dataset(two_channels)
    write_dataset(tmp_path / "written.json", dataset)
    assert read_dataset(tmp_path / "written.json") == dataset


def test_two_folders_tell_channels_and_classes_themselves(tmp_path):
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[0, 0, :2] = 1, 5
    for case in ("a", "b"):
        image(tmp_path / "data" / "scans" / f"{case}_0000.nrrd")
        image(tmp_path / "data" / "scans" / f"{case}_0001.nrrd")
        image(tmp_path / "data" / "truth" / f"{case}.nrrd", labels)
    dataset = load_folders(tmp_path / "data" / "scans", tmp_path / "data" / "truth")
    assert (dataset.name, dataset.file_ending) == ("data", ".nrrd")
    assert dataset.channels == ("channel_0", "channel_1")
    assert dataset.labels == {"background": 0, "label_1": 1, "label_5": 5}


def test_two_folders_with_all_channels_in_one_file(tmp_path):
    image(tmp_path / "scans" / "a.nii.gz", np.zeros((3, 2, 3, 4), np.float32))
    image(tmp_path / "truth" / "a.nii.gz", np.ones((2, 3, 4), np.uint8))
    assert len(load_folders(tmp_path / "scans", tmp_path / "truth").channels) == 3


def test_two_folders_without_a_label_map_or_a_class(tmp_path):
    image(tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "truth").mkdir()
    with pytest.raises(DatasetError, match="expected one for case 'a'"):
        load_folders(tmp_path / "scans", tmp_path / "truth")
    image(tmp_path / "truth" / "a.nii.gz")
    with pytest.raises(DatasetError, match="no label above 0"):
        load_folders(tmp_path / "scans", tmp_path / "truth")
    with pytest.raises(DatasetError, match="no such folder"):
        load_folders(tmp_path / "scans", tmp_path / "elsewhere")


@pytest.mark.parametrize("double", ["a_0000.mha", "a.nii.gz"])
def test_a_case_that_comes_twice(tmp_path, double):
    files(tmp_path, "a_0000.nii.gz", double)
    with pytest.raises(DatasetError, match="case 'a' exists twice"):
        group_channels(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channel_names": None}, "field 'channel_names', found None"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, "without a gap"),
        ({"channel_names": {"T1": "0"}}, "field 'channel_names'"),
        ({"labels": {}}, "field 'labels'"),
        ({"labels": {"background": 0}}, "the background alone"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "the value 1 twice"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "the name 'a' twice"),
        ({"labels": {"background": 0, "a": "1"}}, "'labels.a', found '1'"),
        ({"labels": {"background": 0, "a": -1}}, "'labels.a', found -1"),
        ({"groups": ["a"]}, "field 'groups'"),
        ({"dataset": {"a": {"images": ["a.nii.gz"], "labels": "a.nii.gz"}}}, "field 'dataset.a'"),
        ({"dataset": {"../a": {"images": ["a.nii.gz"], "label": "b"}}}, "case name '../a'"),
        ({"training": ["a.nii.gz"]}, "field 'training'"),
        ({"training": [{"image": "x/a.nii", "label": "a"}, {"image": "y/a.nii", "label": "a"}]}, "listed twice"),
    ],
)
def test_bad_descriptions_name_file_and_field(two_channels, fields, message):
    describe(two_channels, **{**V2, **fields})
    with pytest.raises(DatasetError, match=message) as raised:
        load_dataset(two_channels)
    assert "\n" not in str(raised.value)


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="found nothing, expected a dataset folder"):
        load_dataset(tmp_path / "missing_channels")
    with pytest.raises(DatasetError, match=r"dataset.json: not found"):
        load_dataset(tmp_path)
    describe(tmp_path, **V2)
    with pytest.raises(DatasetError, match="imagesTr: no such folder"):
        load_dataset(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(DatasetError, match="found no training images"):
        load_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DatasetError, match="found a list"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "-option"])
def test_names_that_are_no_safe_file_names(name):
    with pytest.raises(DatasetError, match="case name"):
        check_case_name(name)


def test_the_source_state_follows_every_file(two_channels):
    describe(two_channels, **V2)
    case = load_dataset(two_channels).cases[0]
    states = [source_state(case)]
    for path in (case.images[1], case.label):
        path.write_bytes(b"more")
        states.append(source_state(case))
    case.images[0].unlink()
    states.append(source_state(case))
    assert len(set(states)) == 4
    assert source_state(case) == states[-1]
