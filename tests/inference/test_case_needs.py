from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import autoseg
from autoseg.data.dataset import Dataset
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.volumes import read_labels, write_volume
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


def test_members_on_one_grid_take_the_room_of_their_mean_and_of_one(predictor):
    size = grid((20, 30, 40))
    alone = predictor.need(size)
    many = replace(predictor, members=tuple(replace(predictor.members[0]) for _ in range(21)))
    assert many.need(size).scores == 2 * alone.scores
    assert many.need(size, member_predictions=True).scores == 21 * alone.scores


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
    assert line.startswith("case large: needs about") and "in a temporary file" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "large.nii.gz",
        "prediction.json",
        "small.nii.gz",
    ]


def test_a_disk_without_room_for_a_large_case_leaves_the_others_alone(predictor, monkeypatch, tmp_path):
    def full(file, start, count):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, *_, **__: predictor))
    monkeypatch.setattr(os, "posix_fallocate", full)
    for name, size in {"large": 12, "small": 6}.items():
        write_volume(tmp_path / "in" / f"{name}_0000.nii.gz", np.ones((1, size, 15, 10)), grid((size, 15, 10)))
    room = predictor.need(grid((6, 15, 10))).total
    result = autoseg.predict_folder("w", tmp_path / "in", tmp_path / "out", memory=room)
    assert result.done == ("small",)
    assert "the disk is full; free some space and run the same command again" in result.failed["large"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["prediction.json", "small.nii.gz"]


def test_slices_are_held_a_few_at_a_time(make_predictor, threshold):
    flat = make_predictor(
        threshold(40, axes=2), Dataset("d", ("CT",), {f"c{i}": i for i in range(40)}, "", ()), patch=(8, 8)
    )
    few, many = flat.need(grid((10, 64, 64))), flat.need(grid((1000, 64, 64)))
    assert many.scores == 100 * few.scores == 4 * 40 * 1000 * 64 * 64
    assert many.arrays < 0.4 * many.scores


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from conftest import predictor_of
import autoseg
from autoseg.data.dataset import Dataset
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_volume
from autoseg.inference.predictor import Predictor

class Classes(torch.nn.Module):
    divisor = (1, 1, 1)

    def forward(self, image):
        return [torch.cat([image[:, :1] - n for n in range(60)], dim=1)]

torch.set_num_threads(1)
dataset = Dataset("d", ("CT",), {f"c{n}": n for n in range(60)}, ".nii.gz", ())
predictor = predictor_of(Classes(), dataset, patch=(16, 32, 32))
Predictor.load = classmethod(lambda cls, *_, **__: predictor)
folder, size = Path(sys.argv[2]), (120, 120, 120)
geometry = Geometry(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
write_volume(folder / "in" / "case_0000.nii.gz", np.ones((1, *size), np.float32), geometry)
need = predictor.need(geometry)
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
limit = used + need.arrays + 200 * 1024**2
assert need.scores > 300 * 1024**2
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
print(autoseg.predict_folder("w", folder / "in", folder / "out", memory=int(sys.argv[3])).done)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "survives"), [(250 * 1024**2, True), (10 * 1024**3, False)])
def test_what_a_process_may_not_take_is_kept_in_a_file(memory, survives, tmp_path):
    words = [sys.executable, "-c", LIMITED, Path(__file__).parents[1], tmp_path, memory]
    found = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert (found.stdout.strip() == "('case',)") is survives, found.stderr
    assert survives or "llocate" in found.stderr, found.stderr
