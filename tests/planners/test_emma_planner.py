"""EMMA's plan: its members, each with what is its own, times the normalizations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoseg.data.dataset import IGNORED, Dataset
from autoseg.errors import PlanError
from autoseg.files.records import to_plain
from autoseg.fingerprint.record import CaseMeasure, ChannelPercentiles, Fingerprint, Intensities
from autoseg.learning.costs.memory import step_cost
from autoseg.learning.plan_check import check_configuration
from autoseg.learning.schedules import schedules
from autoseg.learning.step_cost import BatchCost
from autoseg.losses.fitting import check_loss
from autoseg.networks.build import build_network
from autoseg.plan.files import parse_plan
from autoseg.plan.schema import data_id, training_order
from autoseg.planners import fitting
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.deepmedic import ITERATIONS
from autoseg.planners.emma import ADMITTED_WITHIN, FOLDS
from autoseg.planners.emma_members import NETWORKS, NORMALIZATIONS
from autoseg.planners.resources import GIGABYTE, Resources
from autoseg.sampling.stream import build_sampler

BRAIN = ((155, 200, 180), (1.0, 1.0, 1.0))
SLICES = ((1, 300, 280), (1.0, 0.5, 0.5))
INTENSITIES = Intensities(
    mean=50.0, std=20.0, median=48.0, minimum=-9.0, maximum=300.0, percentile_00_5=1.0, percentile_99_5=99.0
)
PERCENTILES = ChannelPercentiles(tuple(map(float, range(11))), tuple(map(float, range(11))))
LABELS = {"labels": {"background": 0, "a": 1, "b": 2}}
REGIONS = {"labels": {}, "regions": {"whole": (1, 2), "core": (2,)}, "region_order": (1, 2)}


def request(grid=BRAIN, channels=("T1", "T2"), *, labels=LABELS, device="cuda", gigabytes=24, **asked):
    shape, spacing = grid
    classes = [name for name in labels.get("regions", labels["labels"]) if name != "background"]
    measures = (
        CaseMeasure(
            f"case_{i}",
            "",
            shape,
            shape,
            spacing,
            dict.fromkeys(classes, 9),
            percentiles=(PERCENTILES,) * len(channels),
        )
        for i in range(30)
    )
    described = {"labels": {}, "file_ending": ".nii.gz", "cases": (), **labels}
    dataset = Dataset("made", channels, **described)
    fingerprint = Fingerprint(tuple(measures), (INTENSITIES,) * len(channels))
    budget = asked.pop("time_budget", None)
    resources = Resources(device, gigabytes * GIGABYTE, bfloat16=False, is_here=False, time_budget=budget)
    return PlanRequest(dataset, fingerprint, resources, **asked)


@pytest.fixture
def free(monkeypatch):
    """Let every step cost nothing, so that the first patch that is tried is planned."""
    cost = BatchCost(((0, 1),), fixed_flops=0, sample_flops=1)
    monkeypatch.setattr(fitting, "batch_cost", lambda configuration, dataset: cost)


def said(plan):
    return "\n".join(line for decision in plan.explanation for line in (decision.decision, *decision.reasons))


PUBLISHED = {
    # Kamnitsas, chapter 4: loss, sampling, edge of the patch, optimizer. Of DeepMedic 9³ and 18³ voxels are learned.
    "deepmedic_residual": ("cross_entropy", {"name": "half", "channel": 0}, 9 + 48, "rmsprop"),
    "deepmedic_wide": ("cross_entropy", {"name": "half", "channel": 0}, 18 + 48, "rmsprop"),
    "fcn": ("soft_iou", {"name": "equal_per_class"}, 64, "adam"),
    "fcn_residual": ("f_beta", {"name": "equal_per_class"}, 80, "adam"),
    "fcn_shallow": ("f_beta", {"name": "equal_per_class"}, 80, "adam"),
    "unet_sum": ("cross_entropy", {"name": "equal_per_class", "channel": 0}, 64, "adadelta"),
    "unet_strided": ("cross_entropy", {"name": "equal_per_class", "channel": 0}, 64, "adam"),
}


@pytest.mark.parametrize("member", PUBLISHED)
def test_members_are_trained_as_published(member, free):
    planned = make_plan(request(members=(member,)), "emma").configuration(f"3d_{member}")
    loss, sampling, edge, optimizer = PUBLISHED[member]
    assert planned.loss["name"] == loss and planned.sampling == sampling
    assert planned.patch_size == (edge,) * 3 and planned.training.optimizer["name"] == optimizer
    assert planned.training.iterations == ITERATIONS and planned.training.time_budget is None
    names = {
        "fcn_residual": "fcn",
        "fcn_shallow": "fcn",
        "deepmedic_residual": "deepmedic",
        "deepmedic_wide": "deepmedic",
    }
    assert planned.network["name"] == names.get(member, member)


def test_every_network_comes_with_every_normalization(free):
    plan = make_plan(request(), "emma")
    endings = ("", "_bias", "_nyul")
    assert set(plan.configurations) == {f"3d_{network.name}{ending}" for network in NETWORKS for ending in endings}
    names = {ending: plan.configuration(f"3d_fcn{ending}").normalization for ending in endings}
    assert [spec["name"] for spec in names[""]] == ["z_score"] * 2
    assert [spec["name"] for spec in names["_bias"]] == ["bias_field_z_score"] * 2
    assert all(spec["name"] == "nyul_z_score" and spec["bias_field"] == {} for spec in names["_nyul"])
    assert len({data_id(plan, configuration) for configuration in plan.configurations.values()}) == 3
    # Stopped at any time, what is trained is the ensemble of fewer normalizations.
    order = training_order(plan)
    assert order == list(plan.configurations) and not any(
        name.endswith(("bias", "nyul")) for name in order[: len(NETWORKS)]
    )
    assert plan.dice_margin == ADMITTED_WITHIN
    assert parse_plan(to_plain(plan), source="written and read") == plan


@pytest.mark.parametrize(
    ("members", "names"),
    [
        (("unet_sum", "fcn"), {f"3d_{n}{e}" for n in ("unet_sum", "fcn") for e in ("", "_bias", "_nyul")}),
        (("unet_sum/z_score",), {"3d_unet_sum"}),
        (("unet_sum/bias", "fcn/nyul"), {"3d_unet_sum_bias", "3d_fcn_nyul"}),
        (("nyul",), {f"3d_{network.name}_nyul" for network in NETWORKS}),
    ],
)
def test_members_are_named_by_network_by_normalization_or_both(members, names, free):
    plan = make_plan(request(members=members), "emma")
    assert set(plan.configurations) == names
    decision = next(decision for decision in plan.explanation if decision.about == "ensemble")
    assert decision.decision.startswith(f"{len(names)} configurations")


def test_configurations_may_be_named_instead(free):
    asked = request(configurations=("3d_fcn_bias", "3d_unet_sum"))
    assert set(make_plan(asked, "emma").configurations) == {"3d_fcn_bias", "3d_unet_sum"}
    with pytest.raises(PlanError, match="'3d_fullres': expected one of 3d_deepmedic_residual, "):
        make_plan(replace(asked, configurations=("3d_fullres",)), "emma")
    with pytest.raises(PlanError, match="none of them is among the requested configurations"):
        make_plan(replace(asked, members=("unet_strided",)), "emma")


@pytest.mark.parametrize("name", ["unet_sun", "", "fcn/ct", "unet_sum/", "z-score"])
def test_a_member_that_there_is_not_is_answered_with_those_that_there_are(name):
    with pytest.raises(PlanError) as refused:
        make_plan(request(members=("fcn", name)), "emma")
    message = str(refused.value)
    assert f"found '{name}'" in message and len(message.splitlines()) == 1
    assert all(network.name in message for network in NETWORKS) and all(kind in message for kind in NORMALIZATIONS)


def test_planners_of_one_network_have_no_members():
    with pytest.raises(PlanError, match="planner 'unet' has no members; omit --members, or plan with --planner emma"):
        make_plan(request(members=("fcn",)), "unet")


def test_where_the_normalization_is_known_there_is_one_of_each_network(free):
    plan = make_plan(request(channels=("CT",)), "emma")
    assert set(plan.configurations) == {f"3d_{network.name}" for network in NETWORKS}
    assert {spec["name"] for c in plan.configurations.values() for spec in c.normalization} == {"ct"}
    assert "the same normalization for all members" in said(plan)
    with pytest.raises(PlanError, match=r"found 'fcn/bias'.* normalizations of this dataset \(z_score\)"):
        make_plan(request(channels=("CT",), members=("fcn/bias",)), "emma")


def test_a_channel_of_known_units_keeps_its_normalization_beside_one_that_varies(free):
    plan = make_plan(request(channels=("CT", "T1"), members=("fcn",)), "emma")
    found = [[spec["name"] for spec in c.normalization] for c in plan.configurations.values()]
    assert found == [["ct", "z_score"], ["ct", "bias_field_z_score"], ["ct", "nyul_z_score"]]


def test_slices_are_planned_in_two_dimensions(free):
    plan = make_plan(request(SLICES), "emma")
    assert all(name.startswith("2d_") for name in plan.configurations)
    for member, (_, _, edge, _) in PUBLISHED.items():
        planned = plan.configuration(f"2d_{member}")
        assert planned.dimension == 2 and planned.patch_size == (edge, edge)
        with torch.device("meta"):
            network = build_network(planned, request(SLICES).dataset)
            logits = network(torch.empty(1, 2, edge, edge))
        assert logits[0].shape == (1, 3, *(edge - 2 * margin for margin in network.margin))


@pytest.mark.parametrize("labels", [LABELS, REGIONS, {**LABELS, "ignore": (9,)}])
def test_losses_and_samplers_fit_the_labels(labels, free):
    asked = request(labels=labels)
    for configuration in make_plan(asked, "emma").configurations.values():
        check_loss(configuration.loss, asked.dataset)
        assert configuration.loss.get("ignore_index") == (IGNORED if "ignore" in labels else None)
        build_sampler(configuration.sampling)


def test_with_a_time_budget_members_have_the_optimizer_of_all_networks_and_their_own_loss(free):
    asked = request(device="cpu", time_budget=1800.0, members=("z_score",))
    plan, unet = make_plan(asked, "emma"), make_plan(replace(asked, members=()), "unet")
    for member, (loss, _, _, _) in PUBLISHED.items():
        planned = plan.configuration(f"3d_{member}")
        training = planned.training
        assert training == unet.configuration("3d_fullres").training and planned.loss["name"] == loss
        assert training.time_budget == 1800 and training.iterations is None
        assert schedules.build(training.schedule)(1.0) == pytest.approx(0)


def test_how_long_the_whole_takes_is_said(free):
    short = said(make_plan(request(device="cpu", time_budget=1800.0, members=("z_score",)), "emma"))
    assert len(NETWORKS) * FOLDS / 2 == 17.5
    assert "7 configurations of 7 networks; 30m for a fold of each, 17h30m for 5 folds of all, on one device" in short
    long = said(make_plan(request(members=("fcn/bias",)), "emma"))
    assert "70,000 steps for a fold of each, 350,000 steps for 5 folds of all" in long


def test_the_explanation_names_what_is_each_members_own(free):
    plan = make_plan(request(members=("fcn",)), "emma")
    for words in ("data of bias", "3d_fcn, 3d_fcn_bias, 3d_fcn_nyul"):
        assert any(decision.about == words for decision in plan.explanation)
    assert "FCN-1: loss soft_iou" in said(plan) and "instead of a z-score" in said(plan)
    assert "not in --members: " in said(plan)


def test_small_images_have_smaller_patches(free):
    plan = make_plan(request(((40, 48, 36), (1.0, 1.0, 1.0)), members=("unet_sum/z_score",)), "emma")
    patch = plan.configuration("3d_unet_sum").patch_size
    assert all(a < b + 16 for a, b in zip(patch, (40, 48, 36), strict=True))


def test_coarse_slices_have_patches_of_as_many_voxels(free):
    plan = make_plan(request(((60, 400, 400), (4.0, 1.0, 1.0)), members=("unet_sum/z_score",)), "emma")
    z, y, x = plan.configuration("3d_unet_sum").patch_size
    assert y == x > 2 * z and z * y * x == pytest.approx(64**3, rel=0.5)


def test_members_fit_the_memory_and_can_be_trained():
    asked = request(gigabytes=1, members=("fcn/z_score",))
    plan = make_plan(asked, "emma")
    planned = plan.configuration("3d_fcn")
    assert step_cost(planned, asked.dataset, batch_size=planned.batch_size).peak_bytes <= GIGABYTE
    check_configuration("3d_fcn", planned, asked.dataset, plan.memory)
