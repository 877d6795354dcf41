"""Each way to say that a case has no label map, has tags, or comes from a site; and each error."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.data.dataset import read_dataset, write_dataset
from autoseg.data.kinds import kind_of
from autoseg.data.layouts import load_dataset, load_folders
from autoseg.errors import DatasetError

V2 = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
V1 = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "tumour"}}
TWO = ("_0000.nii.gz", "_0001.nii.gz")


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def case(folder, part, name):
    files(folder, *(f"images{part}/{name}{ending}" for ending in TWO))


def described(folder, **fields):
    (folder / "dataset.json").write_text(json.dumps(fields))
    return load_dataset(folder)


def kinds(dataset):
    return {case.name: kind_of(dataset, case.name) for case in dataset.cases}


@pytest.fixture
def folder(tmp_path):
    """Two labelled cases, a and c, and one unlabelled case, b."""
    for name in "ac":
        files(tmp_path, *(f"imagesTr/{name}{ending}" for ending in TWO), f"labelsTr/{name}.nii.gz")
    files(tmp_path, *(f"unlabelledTr/b{ending}" for ending in TWO))
    return tmp_path


def test_the_folder_of_unlabelled_images(folder):
    dataset = described(folder, **V2)
    assert kinds(dataset) == {"a": "labelled", "b": "unlabelled", "c": "labelled"}
    assert [path.name for path in dataset.case("b").images] == ["b_0000.nii.gz", "b_0001.nii.gz"]


def test_the_file_ending_is_that_of_the_labelled_cases(tmp_path):
    files(tmp_path, "imagesTr/b.nrrd", "labelsTr/b.nrrd", "unlabelledTr/a.nii.gz")
    assert described(tmp_path, **{**V2, "file_ending": None}).file_ending == ".nrrd"


def test_an_image_without_its_label_map_is_unlabelled_only_if_it_is_tagged(folder):
    (folder / "labelsTr" / "c.nii.gz").unlink()
    assert kinds(described(folder, **V2))["c"] == "labelled"
    assert described(folder, **V2).case("c").label is not None  # Checking finds that the file is missing.
    assert kinds(described(folder, **V2, tags={"c": "big"}))["c"] == "tagged"


@pytest.mark.parametrize("label", [{}, {"label": None}])
def test_an_explicit_list_names_unlabelled_cases(folder, label):
    listed = {"x": {"images": ["p.mha", "q.mha"], "label": "t.mha"}, "y": {"images": ["r.mha", "s.mha"], **label}}
    assert kinds(described(folder, **V2, dataset=listed)) == {"b": "unlabelled", "x": "labelled", "y": "unlabelled"}


def test_a_listed_case_may_lie_in_the_folder_of_unlabelled_images(folder):
    listed = {"a": {"images": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"], "label": "labelsTr/a.nii.gz"}}
    listed["b"] = {"images": ["./unlabelledTr/b_0000.nii.gz", "./unlabelledTr/b_0001.nii.gz"], "label": None}
    assert kinds(described(folder, **V2, dataset=listed)) == {"a": "labelled", "b": "unlabelled"}


@pytest.mark.parametrize("label", [{}, {"label": None}])
def test_the_list_of_the_decathlon(folder, label):
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    training.append({"image": "./imagesTr/c.nii.gz", **label})
    dataset = described(folder, **V1, training=training)
    assert kinds(dataset) == {"a": "labelled", "b": "unlabelled", "c": "unlabelled"}
    assert len(dataset.case("c").images) == 2


@pytest.mark.parametrize("paths", [["unlabelledTr/b.nii.gz"], [f"unlabelledTr/b{ending}" for ending in TWO]])
def test_a_list_of_unlabelled_images_replaces_the_folder(folder, paths):
    files(folder, *(f"unlabelledTr/other{ending}" for ending in TWO))
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    dataset = described(folder, **V1, training=training, unlabelled=paths)
    assert kinds(dataset) == {"a": "labelled", "b": "unlabelled"}
    assert [path.name for path in dataset.case("b").images] == ["b_0000.nii.gz", "b_0001.nii.gz"]


def test_an_unlabelled_case_may_lack_an_optional_channel(folder):
    (folder / "unlabelledTr" / "b_0001.nii.gz").unlink()
    assert described(folder, **V2, optional_channels={"T2": -4}).case("b").missing_channels == (1,)


def test_tags_and_sites(folder):
    fields = {"tags": {"a": "big", "b": ["small", "big"], "c": []}, "sites": {"a": "north", "b": "south"}}
    dataset = described(folder, **V2, **fields)
    assert dataset.tags == {"a": ("big",), "b": ("small", "big"), "c": ()}
    assert dataset.sites == {"a": "north", "b": "south"}
    assert dataset.tag_names == ("big", "small")
    assert kinds(dataset) == {"a": "labelled", "b": "tagged", "c": "labelled"}
    write_dataset(folder / "written.json", dataset)
    assert read_dataset(folder / "written.json") == dataset


def test_tags_keep_their_declared_order(folder):
    declared = ["small", "big", "none"]
    assert described(folder, **V2, tags={"b": "big"}, tag_names=declared).tag_names == tuple(declared)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tags": ["a"]}, "field 'tags', found .* expected an object that maps case names"),
        ({"tags": {"bb": "big"}}, "field 'tags', found 'bb', expected the name of a case: b, …"),
        ({"tags": {"b": 3}}, "field 'tags.b', found 3, expected a tag or a list"),
        ({"tags": {"b": [3]}}, "field 'tags.b', found 3, expected the name of a tag"),
        ({"tags": {"b": ["big", "big"]}}, "field 'tags.b', found 'big' twice"),
        ({"tags": {"b": "bigg"}, "tag_names": ["big", "small"]}, "'tags.b', found 'bigg', .* 'tag_names': big, …"),
        ({"tag_names": []}, r"field 'tag_names', found \[\], expected a list"),
        ({"tag_names": "big"}, "field 'tag_names', found 'big', expected a list"),
        ({"tag_names": ["big", "big"]}, "field 'tag_names', found 'big' twice"),
        ({"sites": "north"}, "field 'sites', found 'north'"),
        ({"sites": {"d": "north"}}, "field 'sites', found 'd', expected the name of a case: a, b, c"),
        ({"sites": {"a": ""}}, "field 'sites.a', found '', expected the name of a site"),
        ({"groups": {"d": "p"}}, "field 'groups', found 'd', expected the name of a case: a, b, c"),
        ({"groups": {"a": "p", "c": "p"}}, "field 'groups', found one group with all labelled cases"),
        ({"unlabelled": "unlabelledTr"}, "field 'unlabelled', found 'unlabelledTr', expected a list"),
        ({"unlabelled": ["elsewhere/a.nii.gz"]}, "case 'a' exists twice, also as .*imagesTr/a_0000.nii.gz"),
    ],
)
def test_bad_fields_are_named(folder, fields, message):
    with pytest.raises(DatasetError, match=message) as raised:
        described(folder, **V2, **fields)
    assert "\n" not in str(raised.value)


def test_a_case_that_is_labelled_and_unlabelled(folder):
    files(folder, *(f"unlabelledTr/a{ending}" for ending in TWO))
    with pytest.raises(DatasetError, match=r"unlabelledTr/a_0000.nii.gz: case 'a' exists twice, also as .*imagesTr/a_"):
        described(folder, **V2)


def test_a_dataset_without_a_label_map(folder):
    listed = {"x": {"images": ["p.mha", "q.mha"], "label": None}}
    for tags in ({}, {"x": "big"}):
        with pytest.raises(DatasetError, match="found 2 cases, none with a label map, expected at least one"):
            described(folder, **V2, dataset=listed, tags=tags)


def test_three_folders(tmp_path):
    for part, names in (("images", "ac"), ("truth", "ac"), ("more", "b")):
        (tmp_path / part).mkdir()
        for name in names:
            sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.uint8)), str(tmp_path / part / f"{name}.mha"))
    three = [tmp_path / part for part in ("images", "truth", "more")]
    dataset = load_folders(*three)
    assert kinds(dataset) == {"a": "labelled", "b": "unlabelled", "c": "labelled"}
    (tmp_path / "more" / "b.mha").rename(tmp_path / "more" / "c.mha")
    with pytest.raises(DatasetError, match=r"more/c.mha: case 'c' exists twice"):
        load_folders(*three)
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        load_folders(three[0], three[1], tmp_path / "nowhere")
