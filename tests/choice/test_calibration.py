"""Whether the probabilities of what was chosen were right, as choosing measures it and the report draws it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoseg.choice import choose
from autoseg.choice.calibration import measure_calibration
from autoseg.choice.trial import Recipe
from autoseg.data.dataset import write_dataset
from autoseg.report.choice_section import choice_section
from autoseg.system.execution import local_executor

RECIPE = Recipe(("2d",))


def measured(made):
    return measure_calibration(made.held_out(), RECIPE, executor=local_executor(0))[0].reliability


def test_classes_that_are_always_right_were_said_with_too_little_confidence(made):
    made.predict_all(lambda labels: labels, configurations=("2d", "3d_fullres"))
    found = measured(made)
    filled = np.flatnonzero(found.counts)
    # Each voxel is given its own class with 0.9 and either other one with 0.05; the stored bytes round a little.
    assert found.mean_confidence[filled] == pytest.approx([0.05, 0.9], abs=0.003)
    assert found.accuracy[filled].tolist() == [0.0, 1.0]
    foreground = sum(int((made.reference(case) > 0).sum()) for case in made.names)
    assert found.counts[filled[1]] == foreground
    voxels = sum(made.reference(case).size for case in made.names)
    assert found.counts.sum() == 2 * voxels, "both classes, everywhere"


def test_voxels_that_nobody_annotated_and_classes_that_were_not_count_nowhere(made):
    made.predict_all(lambda labels: labels, configurations=("2d", "3d_fullres"))
    plain = measured(made).counts.sum()
    ignored = sum(int((made.reference(case) == 2).sum()) for case in made.names)
    dataset = made.dataset()
    write_dataset(made.dataset_file, replace(dataset, ignore=(2,)))
    assert measured(made).counts.sum() == plain - 2 * ignored
    write_dataset(made.dataset_file, replace(dataset, annotated=dict.fromkeys(made.names, ("body",))))
    assert measured(made).counts.sum() == plain / 2


def test_regions_are_compared_as_regions(made):
    made.make_regions()
    made.predict_all(lambda labels: labels, configurations=("2d", "3d_fullres"))
    found = measured(made)
    whole = sum(int((made.reference(case) > 0).sum()) for case in made.names)
    core = sum(int((made.reference(case) == 2).sum()) for case in made.names)
    assert found.counts[np.flatnonzero(found.counts)[-1]] == whole + core
    assert found.correct.sum() == whole + core


def test_choosing_leaves_it_for_the_report(made):
    assert choice_section(made) is None
    made.predict_all(lambda labels: labels, configurations=("2d", "3d_fullres"))
    found = choose(made, predict=False, workers=0)
    assert found.calibration.expected_error == pytest.approx(0.05, abs=0.02)
    section = choice_section(made)
    assert all("<svg" in plot.svg for plot in section.plots) and "held-out cases" in section.plots[0].caption
    assert section.facts["chosen"] == "2d" and "2d (chosen)" in {row[0] for row in section.tables[0].rows}
