from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autoseg.errors import PlanError
from autoseg.files.records import to_plain
from autoseg.plan.files import PLAN_VERSION, read_plan, write_plan
from autoseg.plan.schema import Configuration, Decision, Plan, Training, data_id, mirror_axes, training_order, voxels

FULLRES = Configuration(
    dimension=3,
    spacing=(3.0, 0.5, 0.5),
    median_shape=(20, 256, 256),
    patch_size=(16, 128, 128),
    batch_size=2,
    normalization=({"name": "z_score", "masked": False},),
    network={"name": "unet", "features": [32, 64]},
    loss={"name": "dice_cross_entropy", "batch_dice": False},
    sampling={"name": "foreground", "fraction": 0.33},
    augmentation={"name": "default"},
    training=Training(optimizer={"name": "sgd"}, schedule={"name": "polynomial"}, iterations=1000),
)
SLICES = replace(FULLRES, dimension=2, patch_size=(256, 256), batch_size=12)
PLAN = Plan(
    version=PLAN_VERSION,
    dataset="prostates",
    planner="unet",
    transpose=(0, 1, 2),
    mirror_axes=(0, 1, 2),
    configurations={"2d": SLICES, "3d_fullres": FULLRES},
    explanation=(Decision("data", "this", ("because",)),),
)


@pytest.fixture
def path(tmp_path):
    write_plan(tmp_path / "plan.json", PLAN)
    return tmp_path / "plan.json"


def edit(path, place, value):
    """Change a field of a plan file; KeyError takes it out."""
    plain = target = json.loads(path.read_text())
    *parents, last = place
    for key in parents:
        target = target[key]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    path.write_text(json.dumps(plain))


def test_a_plan_survives_writing(path):
    assert read_plan(path) == PLAN


def test_edited_values_are_what_is_read(path):
    edit(path, ("configurations", "3d_fullres", "batch_size"), 4)
    edit(path, ("configurations", "3d_fullres", "spacing"), [3, 1, 1])
    edit(path, ("configurations", "2d", "training", "time_budget"), 60)
    plan = read_plan(path)
    assert plan.configuration("3d_fullres").batch_size == 4
    assert plan.configuration("3d_fullres").spacing == (3.0, 1.0, 1.0)
    assert plan.configuration("2d").training.time_budget == 60
    assert replace(plan, configurations=PLAN.configurations) == PLAN


def test_configurations_that_differ_after_preprocessing_share_their_data():
    assert data_id(PLAN, SLICES) == data_id(PLAN, FULLRES)
    assert data_id(PLAN, SLICES).startswith("3x0.5x0.5mm-")


def test_data_belong_to_what_decides_them(path):
    edited = [
        replace(FULLRES, spacing=(3.0, 0.6, 0.6)),
        replace(FULLRES, spacing=(None, 0.5, 0.5)),
        replace(FULLRES, normalization=({"name": "z_score", "masked": True},)),
        replace(FULLRES, storage="float16"),
    ]
    found = {data_id(PLAN, configuration) for configuration in [FULLRES, *edited]}
    found.add(data_id(replace(PLAN, transpose=(1, 0, 2)), FULLRES))
    assert len(found) == 6
    assert data_id(read_plan(path), read_plan(path).configuration("2d")) == data_id(PLAN, FULLRES)


def test_a_whole_number_of_millimetres_is_the_same_spacing(path):
    edit(path, ("configurations", "3d_fullres", "spacing"), [3, 0.5, 0.5])
    assert data_id(PLAN, read_plan(path).configuration("3d_fullres")) == data_id(PLAN, FULLRES)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("version",), 99, "'version', found 99.*newer autoseg"),
        (("version",), 1, "'version', found 1, expected 3.*earlier autoseg.*plan-and-preprocess"),
        (("version",), KeyError, "field 'version': field required"),
        (("transpose",), [0, 0, 1], r"'transpose', found \[0, 0, 1\]"),
        (("mirror_axes",), [3], r"'mirror_axes', found \[3\]"),
        (("colour",), "red", "field 'colour'"),
        (("configurations", "2d", "patch_size"), [16, 16, 16], "'configurations.2d.patch_size'"),
        (("configurations", "2d", "patch_size"), [], "'configurations.2d.patch_size'"),
        (("configurations", "2d", "patch_size"), [16, 0], "'configurations.2d.patch_size'"),
        (("configurations", "2d", "batch_size"), 0, "'configurations.2d.batch_size', found 0"),
        (("configurations", "2d", "batch_size"), 2.5, "'configurations.2d.batch_size', found 2.5"),
        (("configurations", "2d", "batchsize"), 2, "'configurations.2d.batchsize'"),
        (("configurations", "2d", "dimension"), 4, "'configurations.2d.dimension', found 4"),
        (("configurations", "2d", "spacing"), [1, 1, -1], "'configurations.2d.spacing'"),
        (("configurations", "3d_fullres", "spacing"), [None, 1, 1], "'configurations.3d_fullres.spacing', found null"),
        (("configurations", "2d", "precision"), "float8", "'configurations.2d.precision'"),
        (
            ("configurations", "2d", "trainer"),
            {"name": "../../x"},
            "'configurations.2d.trainer', found",
        ),
        (("configurations", "2d", "trainer"), {}, "'configurations.2d.trainer', found {}, expected an object"),
        (("configurations", "2d", "training", "iterations"), 0, "'configurations.2d.training.iterations'"),
        (("configurations", "2d", "training", "iterations"), None, "found neither iterations nor time_budget"),
        (("configurations", "2d", "training", "time_budget"), -1, "training.time_budget', found -1"),
        (("configurations", "2d", "training", "ema_decay"), 1, "training.ema_decay', found 1"),
    ],
)
def test_what_cannot_be_used_is_named(path, place, value, message):
    edit(path, place, value)
    with pytest.raises(PlanError, match=message) as raised:
        read_plan(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_plan_that_is_no_object(path):
    path.write_text("[1, 2]")
    with pytest.raises(PlanError, match="the whole file"):
        read_plan(path)


def test_an_unknown_configuration_lists_the_known():
    with pytest.raises(PlanError, match=r"'3d'.* prostates, which has: 2d, 3d_fullres"):
        PLAN.configuration("3d")


def test_a_slice_is_a_patch_one_voxel_thick():
    assert (SLICES.patch_shape, SLICES.patch_spacing) == ((1, 256, 256), (0.5, 0.5))
    assert (FULLRES.patch_shape, FULLRES.patch_spacing) == ((16, 128, 128), (3.0, 0.5, 0.5))
    assert voxels(FULLRES.patch_shape) == 16 * 128 * 128


def test_mirror_axes_are_counted_along_the_patch():
    plan = replace(PLAN, mirror_axes=(0, 2))
    assert mirror_axes(plan, FULLRES) == (0, 2)
    assert mirror_axes(plan, SLICES) == (1,)


def test_plain_values_are_what_json_can_hold():
    assert json.loads(json.dumps(to_plain(PLAN)))["configurations"]["2d"]["patch_size"] == [256, 256]


def staged(**previous):
    """A plan of configurations with these previous stages."""
    made = {name: replace(FULLRES, previous_stage=stage) for name, stage in previous.items()}
    return replace(PLAN, configurations=made)


@pytest.mark.parametrize(
    ("previous", "message"),
    [
        ({"a": "c", "b": None}, r"'configurations.a.previous_stage', found 'c', expected null or one of: b$"),
        ({"a": "a"}, r"'configurations.a.previous_stage', found 'a', which forms a cycle \(a → a\)"),
        ({"a": "b", "b": "c", "c": "b"}, r"'configurations.c.previous_stage', found 'b', .* \(a → b → c → b\)"),
    ],
)
def test_previous_stages_that_cannot_come_before_are_refused(tmp_path, previous, message):
    write_plan(tmp_path / "plan.json", staged(**previous))
    with pytest.raises(PlanError, match=message) as caught:
        read_plan(tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_stages_are_trained_in_the_plans_order_but_after_those_they_read(tmp_path):
    plan = staged(two_d=None, cascade="low", second="cascade", low=None, third="cascade")
    write_plan(tmp_path / "plan.json", plan)
    assert training_order(read_plan(tmp_path / "plan.json")) == ["two_d", "low", "cascade", "second", "third"]


def test_a_cascade_shares_the_data_of_its_resolution():
    assert data_id(PLAN, replace(FULLRES, previous_stage="2d")) == data_id(PLAN, FULLRES)
