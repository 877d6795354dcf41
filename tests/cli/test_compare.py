"""The commands evaluate and compare as a person uses them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from autoseg.cli.main import main
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_labels


def run(*words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code


def write(folder, seed, cases="abcdef"):
    """Blocks of two classes whose place depends on the case and, by a voxel, on the seed."""
    folder.mkdir(exist_ok=True)
    for number, case in enumerate(cases):
        labels = np.zeros((6, 14, 14), dtype=np.uint8)
        shift = np.random.default_rng([seed, number]).integers(0, 3, 2) if seed else (0, 0)
        labels[1:5, 2 + shift[0] : 8 + shift[0], 2:8] = 1
        labels[1:5, 2:8, 8 + shift[1] : 12] = 2
        geometry = Geometry(labels.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
        write_labels(folder / f"{case}.nii.gz", labels, geometry)
    return folder


@pytest.fixture
def evaluated(tmp_path):
    reference = write(tmp_path / "reference", 0)
    folders = write(tmp_path / "one", 1), write(tmp_path / "other", 2, cases="abcdeg")
    write(reference, 0, cases="g")
    for folder in folders:
        assert run("evaluate", folder, reference, "--workers", 0) == 0
    return folders


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_runs_are_compared(evaluated, tmp_path, capfd):
    capfd.readouterr()
    table, values, picture = (tmp_path / name for name in ("it.csv", "it.json", "it.png"))
    words = ("-m", "dice", "-m", "nsd", "-o", table, "-o", values, "--plot", picture, "--resamples", 200)
    assert run("compare", *evaluated, *words) == 0
    said = capfd.readouterr()
    for word in ("dice: B − A over 5 cases", "nsd: B − A", "Wilcoxon", "mean of classes", f"written: {picture}"):
        assert word in said.out
    assert "the case f: left out" in said.err and "the case g: left out" in said.err
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["class"]) for row in rows[:3]] == [
        ("dice", "label_1"),
        ("dice", "label_2"),
        ("dice", "mean of classes"),
    ]
    assert json.loads(values.read_text())["bootstrap"] == {"confidence": 0.95, "resamples": 200, "seed": 0}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_summary_files_may_be_named_themselves(evaluated, capfd):
    assert run("compare", *(folder / "summary.json" for folder in evaluated)) == 0
    assert "over 5 cases" in capfd.readouterr().out


def test_a_run_compared_with_itself_differs_in_nothing(evaluated, tmp_path):
    assert run("compare", evaluated[0], evaluated[0], "-o", tmp_path / "same.json") == 0
    for row in json.loads((tmp_path / "same.json").read_text())["rows"]:
        assert (row["difference_mean"], row["equal"], row["wilcoxon_p"]) == (0, 6, 1)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ONE", "reference"], "reference: found no summary.json; run 'autoseg evaluate"),
        (["ONE", "nowhere"], "nowhere: no such file"),
        (["ONE", "OTHER", "-m", "precison"], "metric 'precison': expected one of precision, "),
        (["ONE", "OTHER", "-o", "table.txt"], "table.txt: found the ending '.txt', expected one of .json, .csv"),
        (["ONE", "OTHER", "--plot", "plot"], "plot: found the ending '', expected one of .png"),
        (["ONE", "one/a.nii.gz"], "a.nii.gz: not a text file, expected JSON"),
        (["ONE", "strict"], "strict: found --empty one, expected nan as in"),
    ],
)
def test_what_cannot_be_compared_is_one_line(evaluated, here, capfd, words, line):
    assert run("evaluate", "one", "reference", "-o", "strict", "--empty", "one", "--workers", 0) == 0
    capfd.readouterr()
    names = {"ONE": evaluated[0], "OTHER": evaluated[1]}
    assert run("compare", *(names.get(word, word) for word in words)) == 2
    said = capfd.readouterr()
    assert line in said.err and said.err.count("\n") == 1
    assert not said.out
    assert not (here / "table.txt").exists()


def test_evaluate_takes_a_tolerance_a_rule_and_ignored_values(evaluated, tmp_path, capfd):
    capfd.readouterr()
    words = ("--tolerance", 0, "--empty", "zero", "--ignore", 2, "--per-slice", "--workers", 0)
    assert run("evaluate", evaluated[0], tmp_path / "reference", "-o", tmp_path / "out", *words) == 0
    said = capfd.readouterr().out
    assert "NSD at 0 mm" in said and "Dice per slice" in said and "label_2" not in said
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["settings"] == {"tolerance": 0.0, "empty": "zero"}
    # Each case has 6 slices; the first and the last are empty and count 0.
    assert summary["slices"]["label_1"]["count"] == 36
    assert summary["slices"]["label_1"]["mean"] < summary["classes"]["label_1"]["dice"]["mean"]
    assert (tmp_path / "out" / "slices.csv").read_text().startswith("case,class,slice,dice")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tolerance", "-1"], "tolerance -1.0: expected a distance in mm, 0 or more"),
        (["--empty", "two"], "empty 'two': expected one of nan, omit, one, zero"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(evaluated, tmp_path, capfd, words, line):
    capfd.readouterr()
    assert run("evaluate", evaluated[0], tmp_path / "reference", *words) == 2
    assert line in capfd.readouterr().err
