from __future__ import annotations

import json
from dataclasses import replace

import blosc2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.data.dataset import IGNORED
from autoseg.errors import WorkspaceError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.preprocessing import store
from autoseg.preprocessing.case import Prepared
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import is_stored, open_case, write_array, write_case

SHAPE = (9, 20, 31)


def prepared(labels=None):
    rng = np.random.default_rng(0)
    geometry = Geometry(SHAPE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    preprocessing = PreprocessingRecord(geometry, Box((0, 0, 0), SHAPE), (0, 1, 2), SHAPE, SHAPE, None)
    labels = rng.choice([0, 1, 4], SHAPE, p=[0.8, 0.19, 0.01]).astype(np.int8) if labels is None else labels
    return Prepared(rng.normal(size=(2, *SHAPE)).astype(np.float32), labels, preprocessing)


def write(folder, case=None, dtype="float32", seed=0):
    folder.mkdir(exist_ok=True)
    write_case(folder, "a", case or prepared(), source="then", dtype=dtype, seed=seed)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path)


def test_what_is_written_is_read(folder):
    case, original = open_case(folder, "a"), prepared()
    assert np.array_equal(case.image[:], original.image)
    assert np.array_equal(case.labels[:], original.labels)
    assert np.array_equal(case.image[:, 2:5, 3:9, 30:], original.image[:, 2:5, 3:9, 30:])
    assert (case.shape, case.record.preprocessing, case.record.name) == (SHAPE, original.preprocessing, "a")
    assert isinstance(case.decoded().image, np.ndarray)


def test_half_precision_is_for_the_image_alone(tmp_path):
    case = open_case(write(tmp_path, dtype="float16"), "a")
    assert (case.image.dtype, case.labels.dtype) == (np.float16, np.int8)


def test_coordinates_are_of_their_class_and_counts_are_right(folder):
    case, labels = open_case(folder, "a"), prepared().labels
    assert sorted(case.foreground) == [1, 4]
    for c, voxels in case.foreground.items():
        assert (labels[tuple(voxels.T)] == c).all()
        assert len(np.unique(voxels, axis=0)) == (labels == c).sum()
    assert case.record.class_voxels == {str(c): int((labels == c).sum()) for c in (0, 1, 4)}


def test_only_some_coordinates_of_a_large_class_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MOST_FOREGROUND", 50)
    first, again, other = (
        open_case(write(tmp_path / str(i), seed=seed), "a").foreground[1] for i, seed in enumerate((0, 0, 1))
    )
    assert len(first) == 50
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_case_of_background_alone(tmp_path):
    case = open_case(write(tmp_path, prepared(np.zeros(SHAPE, np.int8))), "a")
    assert case.foreground == {}
    assert case.record.class_voxels == {"0": int(np.prod(SHAPE))}


def test_a_case_without_a_label_map(folder, tmp_path):
    assert open_case(folder, "a").labelled
    unlabelled = replace(prepared(), labels=None)
    case = open_case(write(tmp_path / "unlabelled", unlabelled), "a")
    assert not case.labelled and not case.decoded().labelled
    assert np.array_equal(case.image[:], unlabelled.image)
    assert case.labels.shape == SHAPE and (case.labels[:] == IGNORED).all()
    assert (case.foreground, case.annotated, case.record.class_voxels) == ({}, None, {})
    assert (tmp_path / "unlabelled" / "a_seg.b2nd").stat().st_size < 1000


def test_a_record_of_before_is_of_a_labelled_case(folder):
    record = json.loads((folder / "a.json").read_text())
    del record["labelled"]
    (folder / "a.json").write_text(json.dumps(record))
    assert is_stored(folder, "a", "then") and open_case(folder, "a").labelled


def test_a_case_is_stored_while_its_source_is_the_same(folder):
    assert is_stored(folder, "a", "then")
    assert not is_stored(folder, "a", "now")
    assert not is_stored(folder, "b", "then")


@pytest.mark.parametrize("name", ["a.json", "a.b2nd", "a_seg.b2nd", "a_foreground.b2nd"])
def test_a_case_that_lacks_a_file_is_not_stored(folder, name):
    (folder / name).unlink()
    assert not is_stored(folder, "a", "then")


@pytest.mark.parametrize("content", ["{", "{}", '{"made": "by another version"}'])
def test_an_unreadable_record_is_none(folder, content):
    (folder / "a.json").write_text(content)
    assert not is_stored(folder, "a", "then")
    with pytest.raises(WorkspaceError, match=r"a\.json"):
        open_case(folder, "a")


def test_a_case_that_is_not_there(folder):
    with pytest.raises(WorkspaceError, match="not preprocessed"):
        open_case(folder, "b")


@pytest.mark.parametrize("name", ["a.b2nd", "a_seg.b2nd", "a_foreground.b2nd"])
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:40], lambda content: b"x" * 500])
def test_damaged_arrays_are_named(folder, name, damage):
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WorkspaceError, match=f"{name}: .*preprocess again"):
        open_case(folder, "a")


def test_arrays_of_another_case_do_not_fit(folder):
    record = json.loads((folder / "a.json").read_text())
    record["preprocessing"]["shape"] = [9, 20, 30]
    (folder / "a.json").write_text(json.dumps(record))
    with pytest.raises(WorkspaceError, match="have different shapes"):
        open_case(folder, "a")


def test_a_stored_expression_is_refused(folder):
    array = blosc2.open(str(folder / "a.b2nd"), mode="r")
    (folder / "a.b2nd").unlink()
    operand = blosc2.asarray(array[:], urlpath=str(folder / "operand.b2nd"), mode="w")
    (operand + 1).save(urlpath=str(folder / "a.b2nd"))
    with pytest.raises(WorkspaceError, match=r"a\.b2nd: .*preprocess again"):
        open_case(folder, "a")


def test_an_interrupted_case_is_not_stored(folder, monkeypatch):
    monkeypatch.setattr(store, "_foreground", None)
    with pytest.raises(TypeError):
        write(folder)
    assert not is_stored(folder, "a", "then")


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_arrays_of_any_shape(tmp_path_factory, shape):
    path = tmp_path_factory.mktemp("arrays") / "x.b2nd"
    array = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    write_array(path, array)
    stored = blosc2.open(str(path), mode="r")
    assert stored.dtype == array.dtype and np.array_equal(stored[:], array)


def test_a_block_is_about_a_cube_of_one_channel(tmp_path):
    write_array(tmp_path / "x.b2nd", np.zeros((2, 64, 128, 128), np.float32))
    stored = blosc2.open(str(tmp_path / "x.b2nd"), mode="r")
    assert stored.blocks == (1, 32, 32, 32)
    assert stored.chunks[0] == 1
