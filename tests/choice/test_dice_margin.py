"""An ensemble of many members: who has a say, and what it takes to find out."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.choice import choose, trial
from autoseg.choice.dice_margin import admit, ensembles_of
from autoseg.choice.held_out import HeldOut
from autoseg.cli.choice_table import print_choice
from autoseg.errors import PlanError
from autoseg.inference.ensemble import read_ensemble
from autoseg.plan.files import write_plan

DICE = {"a": 0.90, "b": 0.88, "c": 0.86, "d": 0.70, "e": None}


def test_who_is_far_behind_has_no_say_and_it_is_told_why():
    found = admit(DICE, 0.05, not_compared=("f",))
    assert found.admitted == ("a", "b", "c")
    assert found.left_out == {
        "d": "mean Dice 0.7000 is 0.2000 below the best, more than 0.05",
        "e": "its Dice is not defined for any case",
        "f": "its trained folds differ from those of the others",
    }


def test_where_no_dice_is_defined_all_have_a_say():
    found = admit({"a": None, "b": None}, 0.05)
    assert found.admitted == ("a", "b") and not found.left_out


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_the_best_is_always_admitted_and_nobody_is_lost(dice, within):
    found = admit(dice, within)
    assert dice[found.admitted[0]] == max(dice.values())
    assert set(found.admitted) | set(found.left_out) == set(dice)
    assert not set(found.admitted) & set(found.left_out)
    assert set(admit(dice, 1.0).admitted) == set(dice)


@given(st.integers(1, 40), st.integers(0, 10))
def test_few_ensembles_are_tried_of_many_members(admitted, others):
    names = tuple(f"m{i}" for i in range(admitted + others))
    dice = {name: 0.9 if i < admitted else 0.1 for i, name in enumerate(names)}
    tried = ensembles_of(admit(dice, 0.05), names)
    assert len(tried) <= 2 + max(0, admitted.bit_length() - 1)
    assert len({frozenset(members) for members in tried}) == len(tried) and all(len(m) > 1 for m in tried)
    assert (admitted < 2) or names[:admitted] in tried
    assert (admitted + others < 2) or any(set(members) == set(names) for members in tried)


def with_members(made, count):
    """Make a plan of ``count`` configurations like 3d_fullres, whose folds look trained."""
    plan = made.plan()
    names = [f"3d_member_{number}" for number in range(count)]
    members = dict.fromkeys(names, plan.configuration("3d_fullres"))
    write_plan(made.plan_file, replace(plan, configurations=members, dice_margin=0.05))
    for name in names:
        for fold in (0, 1):
            folder = made.fold(name, fold)
            folder.root.mkdir(parents=True, exist_ok=True)
            folder.model.write_text("weights that nobody reads")
    return names


def wrong(labels):
    """Say body where there is none, in half of the image."""
    spoilt = labels.copy()
    spoilt[:, :, :10][spoilt[:, :, :10] == 0] = 1
    return spoilt


def predict_all_but_the_last_well(made, names):
    made.predict_all(lambda labels: labels, names[:-1])
    made.predict_all(wrong, names[-1:])


def test_a_bad_member_is_left_out_and_recorded(made, capsys):
    names = with_members(made, 5)
    predict_all_but_the_last_well(made, names)
    found = choose(made, predict=False, workers=0)
    assert set(found.chosen) == set(names[:-1]) and found.best.dice == pytest.approx(1)
    written = json.loads(made.ensemble_file.read_text())
    assert written["dice_margin"] == 0.05 and list(written["left_out"]) == [names[-1]]
    assert "below the best, more than 0.05" in written["left_out"][names[-1]]
    assert set(read_ensemble(made, made.plan()).configurations) == set(names[:-1])
    print_choice(found)
    shown = capsys.readouterr().out
    assert "admitted: 4 of 5, within 0.05 of the best" in shown and f"left out {names[-1]}: " in shown


def test_the_rule_may_be_another(made):
    names = with_members(made, 3)
    predict_all_but_the_last_well(made, names)
    everyone = choose(made, predict=False, workers=0, dice_margin=1.0)
    assert set(everyone.chosen) == set(names) and not everyone.dice_margin.left_out
    with pytest.raises(PlanError, match="dice_margin: found 5, expected a difference of Dice from 0 to 1"):
        choose(made, predict=False, workers=0, dice_margin=5.0)


def test_configurations_of_any_plan_may_be_admitted(made):
    made.predict_all(lambda labels: labels, ("2d",))
    made.predict_all(wrong, ("3d_fullres",))
    found = choose(made, predict=False, workers=0, dice_margin=0.05)
    assert found.chosen == ("2d",) and list(found.dice_margin.left_out) == ["3d_fullres"]


def test_a_member_whose_folds_are_not_all_trained_is_left_out(made):
    names = with_members(made, 3)
    made.fold(names[-1], 1).model.unlink()
    made.predict_all(lambda labels: labels, names[:-1])
    found = choose(made, predict=False, workers=0)
    assert found.dice_margin.left_out == {names[-1]: "its trained folds differ from those of the others"}


def test_a_single_member_that_is_admitted_predicts_alone(made):
    (name,) = with_members(made, 1)
    made.predict_all(lambda labels: labels, (name,))
    assert choose(made, predict=False, workers=0).chosen == (name,)


def test_many_members_take_no_more_memory_than_a_few_and_no_pairs_are_tried(made, monkeypatch):
    names = with_members(made, 13)
    predict_all_but_the_last_well(made, names)
    read, alive, recipes = [], [], []

    def watched(self, configuration, case, *, mirror=True):
        scores = real(self, configuration, case, mirror=mirror)
        read.append(weakref.ref(scores.probabilities))
        alive.append(sum(reference() is not None for reference in read))
        return scores

    def counted(held_out, tried, **options):
        recipes.extend(tried)
        return dice_of(held_out, tried, **options)

    real, dice_of = HeldOut.scores, trial.dice_of
    monkeypatch.setattr(HeldOut, "scores", watched)
    monkeypatch.setattr("autoseg.choice.comparing.dice_of", counted)
    found = choose(made, predict=False, workers=0)
    assert len(found.chosen) == 12 and len(found.results) == len(recipes)
    assert len(recipes) == 13 + 2 + 2, "each alone, the admitted, all, the best six and three"
    assert max(alive) <= trial.KEPT + 2
    held_out = made.held_out()
    few, many = (
        trial._memory_needed(held_out, [(name, True) for name in names[:count]], made.names[0])
        for count in (trial.KEPT, 13)
    )
    assert many == few


def test_an_ensemble_of_equals_is_each_of_them(made):
    names = with_members(made, 7)
    made.predict_all(wrong, names)
    found = choose(made, predict=False, workers=0)
    assert len(found.chosen) == 7
    dice = {result.dice for result in found.results}
    assert np.ptp(list(dice)) < 1e-9
