"""What DeepMedic's planners decide: what is published where it fits, and less of it where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoseg.data.dataset import IGNORED, Dataset
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.learning.costs.memory import step_cost
from autoseg.learning.optimizers import optimizers
from autoseg.learning.schedules import schedules
from autoseg.learning.step_cost import BatchCost
from autoseg.losses.fitting import check_loss
from autoseg.planners import fitting
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.deepmedic import VARIANTS
from autoseg.planners.recipe import Speed
from autoseg.planners.resources import Resources
from autoseg.sampling.stream import build_sampler

MEGABYTE = 1024**2
BRAIN = ((155, 240, 240), (1.0, 1.0, 1.0))
INTENSITIES = Intensities(
    mean=50.0, std=20.0, median=48.0, minimum=-9.0, maximum=300.0, percentile_00_5=1.0, percentile_99_5=99.0
)


def request(case=BRAIN, *, configurations=None, memory=4096 * MEGABYTE, count=5, time_budget=None, **dataset):
    shape, spacing = case
    measures = (CaseMeasure(f"case_{i}", "", shape, shape, spacing, {"a": 9}) for i in range(count))
    made = Dataset("made", ("MR", "T2"), {"background": 0, "a": 1, "b": 2}, ".nii.gz", (), **dataset)
    resources = Resources("cuda", memory, bfloat16=False, is_here=False, time_budget=time_budget)
    return PlanRequest(made, Fingerprint(tuple(measures), (INTENSITIES,) * 2), resources, configurations)


@pytest.fixture
def costs(monkeypatch):
    """Let a step cost a megabyte for each of some thousand voxels of its samples."""

    def cost(configuration, dataset):
        voxels = 1
        for n in configuration.patch_size:
            voxels *= n
        return BatchCost(((0, voxels * 250),), fixed_flops=0, sample_flops=1)

    monkeypatch.setattr(fitting, "batch_cost", cost)


def test_a_brain_is_planned_as_published(costs):
    plan = make_plan(request(), "deepmedic")
    assert list(plan.configurations) == ["2d", "3d_fullres"]
    planned = plan.configuration("3d_fullres")
    assert (planned.patch_size, planned.batch_size) == ((57, 57, 57), 10)
    assert planned.network["features"] == [30, 30, 40, 40, 40, 40, 50, 50] and planned.network["hidden"] == [150, 150]
    assert planned.network["factors"] == [[1, 1, 1], [3, 3, 3]]
    assert planned.loss == {"name": "cross_entropy"} and planned.sampling == {"name": "half", "channel": 0}
    assert planned.training.schedule["name"] == "plateau" and planned.training.iterations == 70_000
    flat = plan.configuration("2d")
    assert (flat.patch_size, flat.batch_size) == ((57, 57), 250)
    assert [c.training.optimizer["weight_decay"] for c in (planned, flat)] == [2e-4, 2e-6]
    said = next(decision for decision in plan.explanation if decision.about == "3d_fullres")
    assert any("its output is 9×9×9, with a margin of 24×24×24" in reason for reason in said.reasons)
    assert any("this planner uses at most 10" in reason for reason in said.reasons)
    assert any("half of the segments" in decision.decision for decision in plan.explanation)


@pytest.mark.parametrize("planner", VARIANTS)
def test_every_recipe_can_be_built(planner, costs):
    asked = request(time_budget=600.0, regions={"all": (1, 2), "one": (1,)}, region_order=(2, 1), ignore=(3,))
    for name, planned in make_plan(asked, planner).configurations.items():
        assert planned.dimension == (2 if name == "2d" else 3)
        check_loss(planned.loss, asked.dataset)
        assert planned.loss["ignore_index"] == IGNORED
        build_sampler(planned.sampling)
        optimizers.build(planned.training.optimizer, parameters=[torch.nn.Parameter(torch.ones(2))])
        assert schedules.build(planned.training.schedule)(1.0) == pytest.approx(0)
        assert planned.training.time_budget == 600.0


def in_ten_minutes(monkeypatch, planner, seconds_a_segment):
    """Plan for a machine that takes so long for a segment, by the features of the first layer."""

    def speed(configuration, cost, request):
        each = seconds_a_segment[configuration.network["features"][0]]
        return Speed(lambda batch: each * batch, configuration.training.time_budget)

    monkeypatch.setattr(fitting, "speed_of", speed)
    return make_plan(request(configurations=("3d_fullres",), time_budget=600.0), planner)


def test_a_short_time_keeps_the_batch_and_takes_the_optimizer_of_all_networks(costs, monkeypatch):
    plan = in_ten_minutes(monkeypatch, "deepmedic", {30: 0.03})
    planned = plan.configuration("3d_fullres")
    assert planned.batch_size == 10 and planned.loss == {"name": "cross_entropy"}
    assert planned.training.optimizer["name"] == "muon" and planned.training.schedule["name"] == "cosine"
    # Of larger segments fewer hold as many voxels to learn.
    wide = in_ten_minutes(monkeypatch, "deepmedic_wide", {30: 0.03, 60: 0.03})
    assert wide.configuration("3d_fullres").batch_size == 2


@pytest.mark.parametrize(("halved", "features"), [(0.04, 30), (0.02, 15)])
def test_features_are_halved_only_where_that_makes_many_more_steps(costs, monkeypatch, halved, features):
    plan = in_ten_minutes(monkeypatch, "deepmedic", {30: 0.06, 15: halved})
    assert plan.configuration("3d_fullres").network["features"][0] == features
    said = [reason for decision in plan.explanation for reason in decision.reasons]
    assert ("16 features: 1,395 steps, not 1.75 times as many" in said) == (features == 30)


def test_segments_stay_as_they_are_where_smaller_ones_make_no_more_steps(costs, monkeypatch):
    # Four hundred steps; of segments of which 3³ are learned a batch would have 270.
    plan = in_ten_minutes(monkeypatch, "deepmedic", {30: 0.135, 15: 0.135})
    assert plan.configuration("3d_fullres").patch_size == (57, 57, 57)


def test_2d_variants_are_planned_in_2d_and_in_3d_when_that_is_asked_for(costs):
    assert list(make_plan(request(), "deepmedic_2d_large").configurations) == ["2d"]
    assert list(make_plan(request(configurations=("3d_fullres",)), "deepmedic_2d_large").configurations) == [
        "3d_fullres"
    ]


def test_other_resolutions_are_planned_when_they_are_asked_for(costs):
    asked = request(configurations=("3d_lowres", "3d_fullres", "3d_cascade_fullres"))
    plan = make_plan(asked, "deepmedic")
    assert list(plan.configurations) == ["3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert plan.configuration("3d_lowres").median_shape < plan.configuration("3d_fullres").median_shape


def test_segments_shrink_before_features_where_memory_is_short(costs):
    largest = 57**3 * 250
    needed = fitting.SMALLEST_BATCH * largest
    asked = request(configurations=("3d_fullres",), memory=int(needed * 1.5) + 150 * MEGABYTE)
    assert make_plan(asked, "deepmedic").configuration("3d_fullres").patch_size == (57, 57, 57)
    shorter = replace(asked, resources=replace(asked.resources, memory=int(largest * 1.8) + 150 * MEGABYTE))
    planned = make_plan(shorter, "deepmedic").configuration("3d_fullres")
    assert planned.patch_size < (57, 57, 57)
    assert planned.network["features"][0] == 30
    assert all((n - 48) % 3 == 0 for n in planned.patch_size)


def test_nothing_beyond_a_small_image_is_learned_but_what_the_grid_needs(costs):
    asked = request(((5, 8, 200), (1.0, 1.0, 1.0)), configurations=("3d_fullres",))
    # The coarsest axis comes first; here all are alike.
    assert make_plan(asked, "deepmedic").configuration("3d_fullres").patch_size == (54, 57, 57)


def test_segments_of_thick_slices_have_fewer_of_them(costs):
    asked = request(((20, 320, 320), (3.6, 0.6, 0.6)), configurations=("3d_fullres",))
    planned = make_plan(asked, "deepmedic").configuration("3d_fullres")
    assert planned.network["factors"] == [[1, 1, 1], [1, 3, 3]]
    # Six times as coarse: a quarter of the layers, of the segment and of the margin.
    assert planned.patch_size == (2 + 2 * 2, 57, 57)


def test_the_data_bound_the_batch_by_what_is_learned(costs):
    few = request(((35, 50, 35), (1.0, 1.0, 1.0)), configurations=("3d_fullres",), count=1)
    assert make_plan(few, "deepmedic").configuration("3d_fullres").batch_size == round(0.05 * 35 * 50 * 35 / 9**3)


def test_a_step_as_planned_takes_little_memory(costs):
    asked = request(configurations=("3d_fullres",))
    planned = make_plan(asked, "deepmedic").configuration("3d_fullres")
    peak = step_cost(planned, asked.dataset, batch_size=planned.batch_size).peak_bytes
    # The thesis trained this on a GPU of 3 GB.
    assert 250 * MEGABYTE < peak < 3 * 1024 * MEGABYTE
