"""Which classes are left and right of the same, and which way images lie."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from autoseg.data.layouts import load_dataset, read_label_meaning
from autoseg.data.sides import Sides, lateral, sides_by_name
from autoseg.errors import DatasetError
from autoseg.fingerprint.measuring import build_fingerprint, examine_all
from autoseg.fingerprint.record import read_fingerprint, write_fingerprint
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import read_labels, read_volume, write_labels, write_volume
from autoseg.system.execution import local_executor


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("kidney_left", "kidney_right"),
        ("left_kidney", "right_kidney"),
        ("Left Kidney", "Right Kidney"),
        ("Kidney_L", "Kidney_R"),
        ("hip-lft", "hip-rgt"),
        ("rib_left_4", "rib_right_4"),
        ("LEFT-Lateral-Ventricle", "right_lateral ventricle"),
        ("ctx-lh-insula", "ctx-rh-insula"),
        ("L", "R"),
        ("left", "right"),
    ],
)
def test_names_that_differ_in_the_word_for_the_side_are_a_pair(left, right):
    assert sides_by_name(["background", right, "spleen", left]) == Sides(((left, right),))


@pytest.mark.parametrize(
    "names",
    [
        ("spleen", "liver"),
        ("bright", "blight"),
        ("vertebra_L1", "vertebra_R1"),
        ("L", "lesion"),
        ("left_atrium", "right_atrium"),
        ("heart_ventricle_left", "myocardium of the left ventricle"),
    ],
)
def test_names_without_sides(names):
    assert sides_by_name(names) == Sides()


def test_what_differs_in_more_than_the_side_has_no_counterpart():
    assert sides_by_name(["kidney_left", "kidney_right_cyst"]) == Sides((), ("kidney_left", "kidney_right_cyst"))
    names = ["lung_upper_left", "lung_upper_right", "lung_middle_right"]
    assert sides_by_name(names) == Sides((("lung_upper_left", "lung_upper_right"),), ("lung_middle_right",))


def test_of_classes_named_by_the_same_words_none_has_a_side():
    for names in (["L", "R", "l"], ["l", "L", "R"], ["R", "L", "L_"]):
        assert sides_by_name(names) == Sides()
    kidneys = ["kidney_left", "Kidney left", "kidney_right", "lung_l", "lung_r"]
    assert sides_by_name(kidneys) == Sides((("lung_l", "lung_r"),), ("kidney_right",))


@given(st.lists(st.text("lrLR_- eftighx", min_size=1, max_size=12), unique=True, max_size=12))
def test_whatever_the_names_no_class_has_two_roles(names):
    found = sides_by_name(names)
    roles = [name for pair in found.pairs for name in pair] + list(found.single)
    assert len(set(roles)) == len(roles) and set(roles) <= set(names)
    assert sides_by_name(list(reversed(names))).pairs in (found.pairs, found.pairs[::-1]) or len(found.pairs) > 1


def described(folder, **changes):
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "a": 1, "b": 2, "kidney_left": 3, "kidney_right": 4, "eye_l": 5},
        "file_ending": ".nii.gz",
    }
    path = folder / "dataset.json"
    path.write_text(json.dumps(description | changes))
    return path


def test_declared_sides_are_all_there_are(tmp_path):
    by_name = read_label_meaning(described(tmp_path))
    assert by_name.sides == (("kidney_left", "kidney_right"),) and by_name.one_sided == ("eye_l",)
    declared = read_label_meaning(described(tmp_path, sides=[["a", "b"]]))
    assert declared.sides == (("a", "b"),) and declared.one_sided == ()
    for none in (False, []):
        dataset = read_label_meaning(described(tmp_path, sides=none))
        assert dataset.sides == () and dataset.one_sided == ()


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (True, "field 'sides', found True, expected pairs of classes"),
        ({"a": "b"}, "field 'sides', found .*, expected pairs of classes"),
        ([["a"]], r"field 'sides', found \['a'\], expected a list of two classes"),
        (["ab"], "field 'sides', found 'ab', expected a list of two classes"),
        ([["a", "spleen"]], "field 'sides', found 'spleen', expected one of a, b, kidney_left"),
        ([["a", 3]], "field 'sides', found 3, expected one of a, b"),
        ([["a", "b"], ["b", "eye_l"]], "field 'sides', found 'b' twice"),
        ([["a", "a"]], "field 'sides', found 'a' twice"),
    ],
)
def test_faults_of_declared_sides(tmp_path, sides, message):
    with pytest.raises(DatasetError, match=message) as caught:
        read_label_meaning(described(tmp_path, sides=sides))
    assert "\n" not in str(caught.value)


@given(st.tuples(*[st.floats(-40, 40)] * 3), st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_orientation_is_that_of_simpleitk(angles, order, signs):
    turned = Rotation.from_euler("xyz", np.array(angles) / 2, degrees=True).as_matrix()
    direction = tuple(float(n) for n in (turned[:, order] * signs).ravel())
    geometry = Geometry((4, 5, 6), (1.0, 1.0, 1.0), (0.0,) * 3, direction)
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)
    assert geometry.orientation == code[::-1]
    axis, towards = lateral(geometry.orientation)
    x = 2 - axis
    assert abs(direction[x]) == max(abs(n) for n in direction[:3])
    assert towards == ("L" if direction[x] > 0 else "R")


def test_a_flat_image_lies_with_left_and_right_along_x():
    geometry = Geometry((1, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
    assert geometry.orientation == "SPL" and lateral(geometry.orientation) == (2, "L")
    assert lateral("") is None


@pytest.fixture
def sided(phantoms):
    """Phantoms whose two classes are left and right by their names."""
    path = phantoms / "dataset.json"
    labels = {"background": 0, "organ_left": 1, "organ_right": 2}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels}))
    return phantoms


def reflected(case):
    """Store a case the other way along x, at the same place in the patient."""
    for path in (*case.images, case.label):
        volume = read_volume([path])
        x = np.reshape(volume.geometry.direction, (3, 3)) * [-1, 1, 1]
        geometry = replace(volume.geometry, direction=tuple(float(n) for n in x.ravel()))
        if path == case.label:
            write_labels(path, np.ascontiguousarray(read_labels(path)[0][..., ::-1]), geometry)
        else:
            write_volume(path, np.ascontiguousarray(volume.array[0, ..., ::-1]), geometry)


def test_the_fingerprint_knows_where_left_is_and_says_where_cases_differ(sided, tmp_path):
    dataset = load_dataset(sided)
    alike = build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))
    assert {case.orientation for case in alike.cases} == {"SPL"} and not alike.warnings
    write_fingerprint(tmp_path / "fingerprint.json", alike)
    assert read_fingerprint(tmp_path / "fingerprint.json") == alike
    reflected(dataset.cases[1])
    mixed = build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))
    assert mixed.cases[1].orientation == "SPR"
    assert mixed.orientations == ("SPL",) * 6 and not mixed.warnings, "all are turned alike"


def test_oblique_cases_that_differ_in_left_and_right_are_named(sided):
    dataset = load_dataset(sided)
    reflected(dataset.cases[1])
    oblique = [
        replace(found, measure=replace(found.measure, tilt=40.0))
        for found in examine_all(dataset, executor=local_executor(0))
    ]
    mixed = build_fingerprint(dataset, oblique)
    assert mixed.orientation is None and len(set(mixed.orientations)) == 2
    assert mixed.warnings[0].startswith(
        "all cases: classes have sides, but the left-right axis of the images differs (SPL in"
    )
    symmetric = replace(dataset, sides=())
    assert not build_fingerprint(symmetric, oblique).warnings


def test_older_fingerprints_can_be_read(sided, tmp_path):
    dataset = load_dataset(sided)
    path = tmp_path / "fingerprint.json"
    write_fingerprint(path, build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0))))
    plain = json.loads(path.read_text())
    for case in plain["cases"]:
        del case["orientation"], case["tilt"]
    path.write_text(json.dumps(plain))
    assert [case.orientation for case in read_fingerprint(path).cases] == [""] * 6
