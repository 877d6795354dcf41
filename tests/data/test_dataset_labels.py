"""Regions, ignored values and annotations as a dataset.json says them."""

from __future__ import annotations

import json

import pytest

from autoseg.data.dataset import read_dataset, write_dataset
from autoseg.data.layouts import load_dataset, read_label_meaning
from autoseg.errors import DatasetError

BRATS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
ORDER = [1, 2, 3]


@pytest.fixture
def folder(tmp_path):
    for case in ("a", "b"):
        for file in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
    return tmp_path


def load(folder, **fields):
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MRI"}, **fields}))
    return load_dataset(folder)


@pytest.mark.parametrize("labels", [BRATS, {name: value for name, value in BRATS.items() if name != "background"}])
def test_regions_as_in_nnunet(folder, labels):
    dataset = load(folder, labels=labels, regions_class_order=ORDER)
    assert dataset.labels == {}
    assert dataset.classes == dataset.regions == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert (dataset.region_order, dataset.values) == ((1, 2, 3), (1, 2, 3))
    assert (dataset.outputs, dataset.activation) == (3, "sigmoid")


def test_a_region_may_be_written_with_any_value_of_its_own(folder):
    kidneys = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumour": 2}
    assert load(folder, labels=kidneys, regions_class_order=[1, 3, 2]).region_order == (1, 3, 2)


def test_indices_are_places_among_the_values(folder):
    dataset = load(folder, labels={"all": [30, 7, 200], "some": [200, 30]}, regions_class_order=[7, 30])
    assert dataset.values == (7, 30, 200)
    assert dataset.class_indices == {"all": (2, 1, 3), "some": (3, 2)}
    plain = load(folder, labels={"background": 0, "b": 9, "a": 4})
    assert plain.class_indices == {"a": (1,), "b": (2,)}
    assert plain.activation == "softmax"


@pytest.mark.parametrize(("ignore", "values"), [(2, (2,)), ([255], (255,)), ([2, 255], (2, 255))])
def test_ignored_values_need_not_be_the_highest(folder, ignore, values):
    dataset = load(folder, labels={"background": 0, "a": 1, "b": 3, "ignore": ignore})
    assert dataset.ignore == values
    assert dataset.labels == {"background": 0, "a": 1, "b": 3}
    assert dataset.values == (1, 3)
    assert dataset.outputs == 3


def test_regions_with_ignored_values(folder):
    dataset = load(folder, labels={**BRATS, "ignore": 4}, regions_class_order=ORDER)
    assert (dataset.ignore, dataset.values, dataset.outputs) == ((4,), (1, 2, 3), 3)


def test_an_ignored_value_in_the_layout_of_nnunet_v1(folder):
    dataset = load(folder, labels={"0": "background", "1": "liver", "2": "ignore"})
    assert (dataset.ignore, dataset.labels) == ((2,), {"background": 0, "liver": 1})


def test_cases_that_were_annotated_in_part(folder):
    dataset = load(folder, labels={"x": 1, "y": 2}, annotated={"a": ["y"], "b": ["y", "x"]})
    assert dataset.annotated == {"a": ("y",)}, "b has all classes"
    assert dataset.annotated_classes("a") == {"y": (2,)}
    assert dataset.annotated_classes("b") == dataset.classes
    regions = load(folder, labels=BRATS, regions_class_order=ORDER, annotated={"b": ["enhancing", "whole"]})
    assert list(regions.annotated_classes("b")) == ["whole", "enhancing"]


def test_all_of_it_survives_writing(folder, tmp_path):
    labels = {**BRATS, "ignore": [4, 255]}
    dataset = load(folder, labels=labels, regions_class_order=ORDER, annotated={"a": ["whole"]})
    write_dataset(tmp_path / "written.json", dataset)
    written = read_dataset(tmp_path / "written.json")
    assert written == dataset
    assert list(written.regions) == list(dataset.regions)


def test_the_meaning_alone_needs_neither_channels_nor_cases(tmp_path):
    path = tmp_path / "dataset.json"
    fields = {"labels": {**BRATS, "ignore": 9}, "regions_class_order": ORDER, "annotated": {"x": ["core"]}}
    path.write_text(json.dumps(fields))
    meaning = read_label_meaning(path)
    assert (list(meaning.classes), meaning.ignore) == (["whole", "core", "enhancing"], (9,))
    assert list(meaning.annotated_classes("x")) == ["core"]


CLASSES = {"background": 0, "x": 1, "y": 2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": BRATS}, "field 'regions_class_order', found None, expected 3 label values"),
        ({"labels": BRATS, "regions_class_order": [1, 2]}, r"found \[1, 2\], expected 3 label values"),
        (
            {"labels": BRATS, "regions_class_order": [1, 1, 3]},
            r"expected one of \[2, 3\] for region 'core' instead of 1",
        ),
        ({"labels": BRATS, "regions_class_order": [2, 2, 3]}, "a different value for each region"),
        ({"labels": BRATS, "regions_class_order": [0, 2, 3]}, "region 'whole' instead of 0"),
        ({"labels": BRATS, "regions_class_order": [True, 2, 3]}, "region 'whole' instead of True"),
        ({"labels": BRATS, "regions_class_order": "1,2,3"}, "found '1,2,3'"),
        ({"labels": {"core": [2], "whole": [1, 2]}, "regions_class_order": [2, 1]}, "list larger regions first"),
        ({"labels": {"one": [1, 2], "two": [2, 1]}, "regions_class_order": [1, 2]}, "list larger regions first"),
        ({"labels": {"whole": []}, "regions_class_order": [1]}, "'labels.whole', found an empty list"),
        ({"labels": {"whole": [1, 1]}, "regions_class_order": [1]}, r"'labels.whole', found \[1, 1\]"),
        ({"labels": {"whole": [0, 1]}, "regions_class_order": [1]}, "'labels.whole', found 0, expected .* from 1"),
        ({"labels": {"whole": [1, "2"]}, "regions_class_order": [1]}, "'labels.whole', found '2'"),
        ({"labels": {"whole": [1, 2], "c": -3}, "regions_class_order": [1, 3]}, "'labels.c', found -3"),
        ({"labels": CLASSES, "regions_class_order": [1, 2]}, "'regions_class_order', found .* without a region"),
        ({"labels": {**CLASSES, "ignore": 0}}, "'labels.ignore', found 0, expected a whole number from 1"),
        ({"labels": {**CLASSES, "ignore": []}}, "'labels.ignore', found an empty list"),
        ({"labels": {**CLASSES, "ignore": [3, 3]}}, "'labels.ignore', found"),
        ({"labels": {**CLASSES, "ignore": "3"}}, "'labels.ignore', found '3'"),
        ({"labels": {**CLASSES, "ignore": [7, 2]}}, "'labels.ignore', found 2, which is also a value of 'y'"),
        ({"labels": {**BRATS, "ignore": 3}, "regions_class_order": ORDER}, "found 3, which is also a value of 'whole'"),
        ({"labels": {"background": 0, "ignore": 3}}, "the background alone"),
        ({"labels": CLASSES, "annotated": ["a"]}, "field 'annotated', found"),
        ({"labels": CLASSES, "annotated": {"c": ["x"]}}, "field 'annotated', found 'c', expected the name of a"),
        ({"labels": CLASSES, "annotated": {"a": ["x", "z"]}}, "'annotated.a', found 'z', expected .* of x, y"),
        ({"labels": CLASSES, "annotated": {"a": []}}, r"'annotated.a', found \[\], expected a list of at least one"),
        ({"labels": CLASSES, "annotated": {"a": "x"}}, "'annotated.a', found 'x', expected a list"),
    ],
)
def test_descriptions_that_make_no_sense(folder, fields, message):
    with pytest.raises(DatasetError, match=message) as raised:
        load(folder, **fields)
    assert "dataset.json: field '" in str(raised.value)
    assert "\n" not in str(raised.value)
