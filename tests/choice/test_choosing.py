from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from autoseg.choice import choose
from autoseg.choice.trial import Recipe, dice_of
from autoseg.data.dataset import write_dataset
from autoseg.errors import WeightsError
from autoseg.inference.ensemble import read_ensemble
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

from .conftest import UNSURE


def chosen(place, **options):
    return choose(place, predict=False, workers=0, **options)


def test_configurations_that_err_in_different_places_are_better_together(made):
    for name, half in (("2d", slice(4, 8)), ("3d_fullres", slice(8, 13))):
        for case in made.names:
            labels = made.reference(case)
            wrong = np.zeros(labels.shape, bool)
            wrong[2:3, half] = labels[2:3, half] == 1
            made.predict(name, case, np.where(wrong, 0, labels), sure=np.where(wrong, UNSURE, 0.9))
    found = chosen(made)
    assert found.chosen == ("2d", "3d_fullres") and found.best.dice == pytest.approx(1)
    assert found.best.difference.mean > 0.01 and found.best.difference.shown
    assert read_ensemble(made, made.plan()).configurations == found.chosen


def test_a_configuration_as_good_as_its_ensemble_is_taken_alone(made):
    made.predict_all(lambda labels: labels)
    found = chosen(made)
    assert found.chosen == ("2d",)
    assert [result.configurations for result in found.results] == [("2d",), ("3d_fullres",), ("2d", "3d_fullres")]
    assert found.cases == 6 and found.folds == (0, 1)


def speckled(labels):
    spoilt = labels.copy()
    spoilt[0, 0, 0] = spoilt[-1, -1, -1] = 1
    spoilt[2, -2:, 0] = 2
    return spoilt


def test_speckles_are_removed_and_the_gain_is_told(made):
    made.predict_all(speckled)
    found = chosen(made)
    assert found.postprocessing.steps == ({"name": "largest_component"},)
    assert found.postprocessing.gain == pytest.approx(found.dice - found.best.dice) and found.dice == 1
    assert found.postprocessing.expected_gain == pytest.approx(found.postprocessing.gain)
    assert set(found.postprocessing.gains) == {"body", "core"}
    assert read_ensemble(made, made.plan()).postprocessing == found.postprocessing


def test_holes_are_filled(made):
    def hollow(labels):
        spoilt = labels.copy()
        spoilt[3, 11, 11] = 0
        return spoilt

    made.predict_all(hollow)
    found = chosen(made)
    assert found.postprocessing.steps == ({"name": "fill_holes", "of": "body"},) and found.dice == 1


def two_bodies(shape):
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 1:8, 3:13], labels[2:6, 10:14, 3:13] = 1, 1
    labels[3:5, 2:5, 5:9], labels[3:4, 11:12, 5:8] = 2, 2
    return labels


def test_nothing_is_removed_where_structures_come_in_pieces(made):
    for case in made.names:
        made.set_reference(case, two_bodies(made.reference(case).shape))
    made.predict_all(lambda labels: labels)
    found = chosen(made)
    assert found.postprocessing.steps == () and found.postprocessing.gain is None and found.dice == 1


def test_pieces_are_told_from_speckles_by_their_volume(made):
    for case in made.names:
        made.set_reference(case, two_bodies(made.reference(case).shape))
    made.predict_all(speckled)
    found = chosen(made)
    steps = {(step["name"], step["of"]): step["mm3"] for step in found.postprocessing.steps}
    assert steps.keys() == {("remove_small", "body"), ("remove_small", "core")} and found.dice == 1
    mm3 = np.prod(made.held_out().preprocessing(made.names[0], "2d").geometry.spacing)
    assert 1 < steps["remove_small", "body"] / mm3 < 4 * 4 * 10 and 2 < steps["remove_small", "core"] / mm3 < 3


def test_what_helps_a_single_case_is_no_reason(made):
    for name in ("2d", "3d_fullres"):
        for number, case in enumerate(made.names):
            labels = made.reference(case)
            made.predict(name, case, labels if number else speckled(labels))
    assert chosen(made).postprocessing.steps == ()


def test_regions_lose_what_is_doubtful_and_no_more(made):
    made.make_regions()

    def core_speckles(labels):
        spoilt = labels.copy()
        spoilt[2, 4, 4] = 2  # Within the whole, where it is not core.
        spoilt[0, 0, 0] = 1
        return spoilt

    made.predict_all(core_speckles)
    found = chosen(made)
    assert found.dice == 1
    assert [step.get("of") for step in found.postprocessing.steps] == [None, "core"]


def test_voxels_that_nobody_annotated_do_not_count(made):
    write_dataset(made.dataset_file, replace(made.dataset(), ignore=(9,)))
    for case in made.names:
        labels = made.reference(case)
        labels[0, 0, 0] = labels[-1, -1, -1] = labels[2, -2:, 0] = 9
        made.set_reference(case, labels)
    made.predict_all(lambda labels: speckled(np.where(labels == 9, 0, labels)))
    found = chosen(made)
    assert found.best.dice == 1 and found.postprocessing.steps == ()


def test_classes_that_were_not_annotated_do_not_count(made):
    write_dataset(made.dataset_file, replace(made.dataset(), annotated=dict.fromkeys(made.names[1:], ("body",))))
    made.predict_all(lambda labels: labels)
    classes = chosen(made).best.classes
    assert (classes["body"].count, classes["core"].count) == (6, 1)


def test_a_decoder_is_taken_where_it_is_better_for_sure(made):
    for name in ("2d", "3d_fullres"):
        for case in made.names:
            labels = made.reference(case)
            core = np.where(labels == 2, 0.4, 0.001)
            body = np.where(labels == 1, 0.9, np.where(labels == 2, 0.15, 0.01))
            # Nowhere is the core the most probable, but nowhere else is it probable at all.
            made.store(name, case, np.stack([1 - core - body, body, core]))
    found = chosen(made)
    assert found.decoder.kept and found.decoder.gain.shown and found.dice == pytest.approx(1)
    assert read_ensemble(made, made.plan()).decoder == {"name": "dice_optimal"}


def test_missing_probabilities_are_named(made):
    made.predict_all(lambda labels: labels, ["2d"])
    with pytest.raises(WeightsError, match=r"held out by 3d_fullres folds 0, 1; make them with 'autoseg choose "):
        chosen(made)
    made.predict_all(lambda labels: labels)
    made.fold("2d", 1).model.write_text("trained once more, so that what is there is outdated")
    with pytest.raises(WeightsError, match=r"held out by 2d fold 1;"):
        chosen(made)
    assert not made.ensemble_file.exists()


def test_only_configurations_with_the_most_folds_are_compared(made, caplog):
    made.fold("3d_fullres", 1).model.unlink()
    made.predict_all(lambda labels: labels, ["2d"])
    with caplog.at_level("WARNING", logger="autoseg"):
        assert [result.configurations for result in chosen(made).results] == [("2d",)]
    assert "3d_fullres: not compared" in caplog.text


def test_fold_all_held_out_nothing(workspace):
    place = Workspace(workspace)
    folder = place.fold("2d", "all")
    folder.root.mkdir(parents=True)
    folder.model.touch()
    with pytest.raises(WeightsError, match="no fold with a number is trained"):
        chosen(place)


def test_a_class_that_no_case_holds_says_nothing(made):
    for case in made.names:
        made.set_reference(case, made.reference(case) * 0)
    made.predict_all(lambda labels: labels)
    found = chosen(made)
    assert found.dice is None and found.chosen == ("2d",) and found.best.difference.mean is None
    assert json.loads(made.ensemble_file.read_text())["dice"] is None


@pytest.mark.slow
def test_processes_and_one_process_measure_alike(made):
    made.predict_all(speckled)
    recipes = [Recipe(("2d",)), Recipe(("2d", "3d_fullres"), steps=({"name": "largest_component"},))]
    here, there = (dice_of(made.held_out(), recipes, executor=local_executor(workers)) for workers in (0, 2))
    assert np.array_equal(here, there) and len(here) == 2
