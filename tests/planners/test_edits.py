"""Changing a plan from the command line: what is taken, what is refused, and what it says of it."""

from __future__ import annotations

import json

import pytest

from autoseg.errors import PlanError
from autoseg.plan.files import read_plan
from autoseg.planners.edits import edited
from autoseg.workspace.paths import Workspace


@pytest.fixture(scope="module")
def made(made_once):
    place = Workspace(made_once / "workspace")
    return place.plan(), place.dataset()


def test_a_field_is_changed_and_the_plan_says_so(made):
    plan, dataset = made
    changed = edited(plan, ["3d_fullres.batch_size=4", "mirror_axes=[1, 2]"], dataset)
    assert changed.configuration("3d_fullres").batch_size == 4 and changed.mirror_axes == (1, 2)
    assert changed.configuration("2d") == plan.configuration("2d")
    first, second = changed.explanation[len(plan.explanation) :]
    assert (first.about, first.decision) == ("3d_fullres", "3d_fullres.batch_size set to 4 by hand, was 2")
    assert (second.about, second.decision) == ("data", "mirror_axes set to [1, 2] by hand, was [0, 1, 2]")


def test_parts_that_name_code_may_be_given_new_arguments(made):
    plan, dataset = made
    changed = edited(plan, ["2d.training.optimizer.momentum=0.9", "2d.augmentation.name=light"], dataset)
    assert changed.configuration("2d").training.optimizer["momentum"] == 0.9
    assert changed.configuration("2d").augmentation["name"] == "light"


def test_an_element_of_a_list_is_counted_from_zero(made):
    plan, dataset = made
    changed = edited(plan, ["3d_fullres.network.features.1=16"], dataset)
    assert changed.configuration("3d_fullres").network["features"] == [4, 16]


def test_a_network_that_takes_any_size_takes_an_odd_patch(made):
    plan, dataset = made
    network = {"name": "unet_scinets", "features": [4, 6], "kernels": [[3, 3, 3]] * 2, "strides": [[1] * 3, [2] * 3]}
    edits = [f"3d_fullres.network={json.dumps(network)}", "3d_fullres.patch_size=[9, 15, 17]"]
    assert edited(plan, edits, dataset).configuration("3d_fullres").patch_size == (9, 15, 17)


REFUSED = {
    "3d_fullres.batch_size": "expected FIELD=VALUE, such as 3d_fullres.batch_size=4",
    "3d_fullres.batch_sice=4": "found 'batch_sice', expected one of: batch_size, patch_size",
    "3d_fulres.batch_size=4": "found '3d_fulres', expected one of: 3d_fullres",
    "3d_fullres.network.features.7=4": "found '7', expected one of: 0, 1",
    "3d_fullres.batch_size=four": "field 'configurations.3d_fullres.batch_size', found 'four'",
    "3d_fullres.batch_size=0": "field 'configurations.3d_fullres.batch_size', found 0, expected at least 1",
    "3d_fullres.batch_size=100000000": "3d_fullres.batch_size', found 100000000, which needs .* expected at most ",
    "3d_fullres.patch_size=[7, 16, 16]": r"found \[7, 16, 16\], expected multiples of \[2, 2, 2\]",
    "3d_fullres.spacing=[0, 1, 1]": "expected millimetres above 0 or null",
    "3d_fullres.network.features=[4]": "network 'unet', field 'kernels': found 2 stages, expected 1",
    "3d_fullres.network.name=unit": "networks: found 'unit', expected one of: unet",
    "3d_fullres.network.widths=[4]": "networks 'unet': .*'widths'; it takes: .*features",
    "3d_fullres.loss.name=dice": "losses: found 'dice', expected one of: .*dice_cross_entropy",
    "3d_fullres.training.optimizer.learning_rate=-1": "argument 'learning_rate': found -1: input should be greater",
    "3d_fullres.training.optimizer.momentum=1": "argument 'momentum': found 1: input should be less than 1",
    "3d_fullres.training.schedule.warmup=2": "schedules 'cosine', argument 'warmup': found 2",
    "3d_fullres.training.iterations=0": "expected at least 1 or null",
    "3d_fullres.sampling.name=foregound": "samplers: found 'foregound', expected one of: foreground",
    '3d_fullres.sampling={"name": "masked", "channel": 9}': "sampling.channel', found 9, expected less than",
    "3d_fullres.augmentation.name=blue": "augmentations: found 'blue'",
    "3d_fullres.normalization.0.name=z": r"3d_fullres\.normalization', '.*': normalizations: found 'z', .*z_score",
    "3d_fullres.normalization=[]": r"3d_fullres\.normalization', found 0, expected",
    "3d_fullres.network.features=[100000, 100000]": "patch_size', found .*; a batch of 1 needs",
    "3d_fullres.network.convolutions=[2, 2, 9]": "network 'unet', field 'convolutions': .* expected 2 numbers",
    "3d_fullres.network.width=4": "networks 'unet': .*'width'; it takes: features, ",
    '3d_fullres.training.optimizer={"name": "sgd", "learning_rate": 0.1, "nesterov": true}': "'momentum': found 0",
    '3d_fullres.loss={"name": "f_beta", "beta": 1e200}': r"argument 'beta': found 1e\+200: input should be less than",
    '3d_fullres.loss={"name": "f_beta", "smooth": 0}': "argument 'smooth': found 0: input should be greater than 0",
    '3d_fullres.loss={"name": "soft_iou", "smooth": 0}': "argument 'smooth': found 0: input should be greater than 0",
    '3d_fullres.loss={"name": "f_beta", "ignore_index": 1}': "'f_beta': found ignore_index 1, expected null",
    '3d_fullres.loss={"name": "focal", "weights": [0, 0, 0]}': r"'weights': found \[0, 0, 0\], expected at least one",
    '3d_fullres.loss={"name": "tversky", "alpha": 0, "beta": 0}': "'alpha' and 'beta': found 0 and 0",
    "3d_fullres.previous_stage=3d_lowres": "previous_stage', found '3d_lowres', expected null or one of: 2d",
    "transpose=[0, 0, 1]": "field 'transpose'",
}


@pytest.mark.parametrize("assignment", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(made, assignment):
    plan, dataset = made
    with pytest.raises(PlanError, match=REFUSED[assignment]) as caught:
        edited(plan, [assignment], dataset)
    assert "\n" not in str(caught.value)


def test_an_edited_file_is_checked_in_the_same_way_before_training(workspace, shrink_plan):
    from autoseg.learning.fold import train_fold
    from autoseg.learning.setting import FoldRequest

    place = Workspace(workspace)
    shrink_plan(place.plan_file, sampling={"name": "foregound"})
    assert read_plan(place.plan_file), "types alone do not know the samplers' names"
    with pytest.raises(PlanError, match=r"configurations\.2d\.sampling': samplers: found 'foregound'"):
        train_fold(FoldRequest(place, "2d", 0, iterations=1))
    assert not (workspace / "models").exists()
