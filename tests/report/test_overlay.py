from __future__ import annotations

import numpy as np
import pytest

from autoseg.images import read_labels, read_volume
from autoseg.report.overlay import write_overlay


@pytest.fixture(scope="module")
def case(made_once):
    folder = made_once / "phantoms"
    volume = read_volume(sorted((folder / "imagesTs").glob("phantom_006_*")))
    return volume, read_labels(folder / "labelsTs" / "phantom_006.nii.gz")[0]


def draw(path, case, prediction, reference):
    write_overlay(path, case[0], prediction, reference, title="phantom")
    assert path.read_bytes()[:4] == b"\x89PNG"
    return path.read_bytes()


def test_prediction_and_reference_are_both_drawn(case, tmp_path):
    labels = case[1]
    moved = np.roll(labels, 2, axis=2)
    alone = draw(tmp_path / "alone.png", case, labels, None)
    both = draw(tmp_path / "both.png", case, labels, moved)
    assert alone != both


@pytest.mark.parametrize("reference", ["none", "empty", "full"])
def test_an_empty_prediction_is_no_fault(case, tmp_path, reference):
    labels = case[1]
    given = {"none": None, "empty": np.zeros_like(labels), "full": labels}[reference]
    draw(tmp_path / "empty.png", case, np.zeros_like(labels), given)


def test_a_single_slice_can_be_drawn(case, tmp_path):
    from autoseg.images import Volume
    from autoseg.inference.predictor import plain_geometry

    labels = case[1][3:4]
    volume = Volume(case[0].array[:, 3:4], plain_geometry(labels.shape, (1.0, 1.0, 1.0)))
    draw(tmp_path / "slice.png", (volume, labels), labels, labels)
