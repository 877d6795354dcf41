"""The command that shows, explains and changes a plan."""

from __future__ import annotations

import json

import pytest

from autoseg.cli.main import main


def plan(*words, capfd):
    with pytest.raises(SystemExit) as exit_:
        main(["plan", *(str(word) for word in words)])
    captured = capfd.readouterr()
    return exit_.value.code or 0, captured.out + captured.err


def test_a_plan_is_shown_explained_and_kept(workspace, capfd):
    before = (workspace / "plan.json").read_bytes()
    status, shown = plan(workspace, capfd=capfd)
    assert status == 0 and shown.count("3d_fullres: patch") == 1
    status, explained = plan(workspace, "--explain", capfd=capfd)
    assert status == 0 and len(explained.splitlines()) > len(shown.splitlines())
    for figure in ("features", "voxels", "10th percentile", "pool"):
        assert figure in explained, figure
    assert (workspace / "plan.json").read_bytes() == before


def test_fields_are_set_and_kept_until_planned_again(workspace, capfd):
    assert plan(workspace, "--set", "3d_fullres.batch_size=3", capfd=capfd)[0] == 0
    assert json.loads((workspace / "plan.json").read_text())["configurations"]["3d_fullres"]["batch_size"] == 3
    status, shown = plan(workspace, capfd=capfd)
    assert status == 0 and "3d_fullres.batch_size set to 3 by hand, was 2" in shown
    status, shown = plan(workspace, "--replan", capfd=capfd)
    assert status == 0 and "by hand" not in shown


def test_what_is_refused_changes_nothing(workspace, capfd):
    before = (workspace / "plan.json").read_bytes()
    status, said = plan(workspace, "--set", "3d_fullres.batch_size=0", capfd=capfd)
    assert status == 2 and len(said.strip().splitlines()) == 1
    assert (workspace / "plan.json").read_bytes() == before


@pytest.mark.parametrize(("memory", "words"), [("1MB", "expected at least"), ("0GB", "expected"), ("much", "expected")])
def test_memory_that_nothing_fits(workspace, memory, words, capfd):
    before = (workspace / "plan.json").read_bytes()
    status, said = plan(workspace, "--memory", memory, capfd=capfd)
    (error,) = [line for line in said.splitlines() if line.startswith("autoseg:")]
    assert status == 2 and words in error and "Traceback" not in said
    assert (workspace / "plan.json").read_bytes() == before


def test_other_sides_lead_to_another_plan(workspace, capfd):
    described = json.loads((workspace / "dataset.json").read_text())
    names = [name for name in described["labels"] if name != "background"]
    assert json.loads((workspace / "plan.json").read_text())["mirrored_classes"] is None
    (workspace / "dataset.json").write_text(json.dumps({**described, "sides": [names[:2]]}))
    status, shown = plan(workspace, capfd=capfd)
    assert status == 0 and "left and right classes are swapped" in shown
    assert json.loads((workspace / "plan.json").read_text())["mirrored_classes"]["classes"] == [names[:2]]


def test_members_of_an_ensemble_are_planned_and_kept(workspace, capfd):
    status, shown = plan(workspace, "--members", "fcn, unet_sum/z_score", capfd=capfd)
    assert status == 0 and "4 configurations of 2 networks" in shown
    made = json.loads((workspace / "plan.json").read_text())
    assert made["planner"] == "emma" and made["request"]["members"] == ["fcn", "unet_sum/z_score"]
    assert list(made["configurations"]) == ["3d_fcn", "3d_unet_sum", "3d_fcn_bias", "3d_fcn_nyul"]
    before = (workspace / "plan.json").read_bytes()
    assert plan(workspace, "--planner", "emma", capfd=capfd)[0] == 0
    assert (workspace / "plan.json").read_bytes() == before
    assert plan(workspace, "--set", "dice_margin=0.1", capfd=capfd)[0] == 0
    assert json.loads((workspace / "plan.json").read_text())["dice_margin"] == 0.1
    status, said = plan(workspace, "--set", "dice_margin=7", capfd=capfd)
    assert status == 2 and "field 'dice_margin', found 7.0, expected a Dice from 0 to 1" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--members", "fcn,unet"], "found 'unet' (did you mean unet_sum?), expected networks (deepmedic_residual"),
        (["--members", ""], "found '', expected networks"),
        (["--members", "fcn", "--planner", "unet"], "planner 'unet' has no members"),
        (["--planner", "emma", "-c", "3d_fullres"], "expected one of 3d_deepmedic_residual"),
    ],
)
def test_members_that_there_are_not_change_nothing(workspace, words, expected, capfd):
    before = (workspace / "plan.json").read_bytes()
    status, said = plan(workspace, *words, capfd=capfd)
    assert status == 2 and expected in said and len(said.strip().splitlines()) == 1
    assert (workspace / "plan.json").read_bytes() == before
