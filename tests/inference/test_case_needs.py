from __future__ import annotations

import logging

import numpy as np
import pytest

import autoseg
from autoseg.dataset import Dataset
from autoseg.geometry import Geometry, Volume
from autoseg.images import read_labels, write_volume
from autoseg.inference.needs import memory_for_cases
from autoseg.inference.predictor import Predictor

CT = Dataset("d", ("CT",), {"background": 0, "a": 1, "b": 2}, ".nii.gz", ())


def grid(size, spacing=(1.0, 1.0, 1.0)):
    return Geometry(size, spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))


@pytest.fixture
def predictor(make_predictor, threshold):
    return make_predictor(threshold(3), CT)


def test_probabilities_count_on_the_grid_of_the_network(predictor):
    assert predictor.need(grid((20, 30, 40))).scores == 4 * 3 * 20 * 30 * 40
    assert predictor.need(grid((20, 30, 40), (2.0, 1.0, 1.0))).scores == 4 * 3 * 40 * 30 * 40


def test_what_is_not_probabilities_does_not_grow_with_the_classes(make_predictor, threshold):
    few, many = (
        make_predictor(threshold(count + 1), Dataset("d", ("CT",), {f"c{i}": i for i in range(count + 1)}, "", ()))
        for count in (2, 20)
    )
    size = grid((600, 60, 60))
    assert many.need(size).arrays < 1.5 * few.need(size).arrays
    assert many.need(size).scores == 7 * few.need(size).scores


def test_memory_is_by_default_most_of_what_is_free(monkeypatch):
    monkeypatch.setattr("autoseg.inference.needs.available_memory", lambda: 1000)
    assert memory_for_cases() == 700
    assert memory_for_cases(123) == 123


def test_a_case_too_large_for_memory_is_predicted_all_the_same(predictor, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, *_, **__: predictor))
    image = np.random.default_rng(0).normal(size=(1, 12, 15, 10)).astype(np.float32)
    for name, size in {"large": 12, "small": 6}.items():
        write_volume(tmp_path / "in" / f"{name}_0000.nii.gz", image[:, :size], grid((size, 15, 10)))
    expected = {
        name: predictor.predict(Volume(image[:, :n], grid((n, 15, 10)))) for name, n in (("large", 12), ("small", 6))
    }
    room = predictor.need(grid((6, 15, 10))).total
    with caplog.at_level(logging.WARNING, "autoseg.prediction"):
        result = autoseg.predict_folder("w", tmp_path / "in", tmp_path / "out", memory=room)
    assert result.done == ("large", "small")
    for name, labels in expected.items():
        assert labels.any() and np.array_equal(read_labels(tmp_path / "out" / f"{name}.nii.gz")[0], labels)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("case large: takes about") and "kept in a file" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "large.nii.gz",
        "prediction.json",
        "small.nii.gz",
    ]
