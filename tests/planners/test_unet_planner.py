from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.learning.costs.memory import step_cost
from autoseg.plan.files import PLAN_VERSION, read_plan, write_plan
from autoseg.plan.schema import data_id
from autoseg.planners import speed
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.resources import GIGABYTE, Resources

PROSTATE = ((20, 320, 320), (3.6, 0.62, 0.62))
HEART = ((115, 320, 232), (1.37, 1.25, 1.25))


@pytest.fixture(autouse=True)
def no_timing(monkeypatch):
    """Without a time budget the machine's speed must not matter, or plans would differ from run to run."""

    def refuse(device, precision):
        raise AssertionError("timed without a time budget")

    monkeypatch.setattr(speed, "renewed_speed", refuse)
    monkeypatch.setattr(speed, "kept_speeds", dict)


def request(*cases, gigabytes=8.0, channels=("MR",), count=20, names=None, bfloat16=False, **resources):
    """Ask for a plan for ``count`` copies of the (shape, spacing) pairs."""
    cases = cases * count
    measures = (
        CaseMeasure(f"case_{i:03d}", "", shape, shape, spacing, {"a": 9}) for i, (shape, spacing) in enumerate(cases)
    )
    seen = Intensities(
        mean=50.0, std=20.0, median=48.0, minimum=-9.0, maximum=300.0, percentile_00_5=1.0, percentile_99_5=99.0
    )
    dataset = Dataset("made", channels, {"background": 0, "a": 1}, ".nii.gz", ())
    budget = Resources("cuda", int(gigabytes * GIGABYTE), bfloat16, **resources)
    return PlanRequest(dataset, Fingerprint(tuple(measures), (seen,) * len(channels)), budget, names)


def check(plan, asked):
    """What every plan must keep, whatever it was made from."""
    for configuration in plan.configurations.values():
        network, patch = configuration.network, configuration.patch_size
        divisor = [math.prod(stride[axis] for stride in network["strides"]) for axis in range(configuration.dimension)]
        assert all(n % d == 0 for n, d in zip(patch, divisor, strict=True))
        assert len(network["features"]) == len(network["kernels"]) == len(network["strides"])
        assert all(a <= b for a, b in zip(network["features"], network["features"][1:], strict=False))
        assert configuration.batch_size >= 2
        # Never larger than the median case, but for what divisibility adds.
        shape = configuration.median_shape[3 - configuration.dimension :]
        assert all(n < s + d for n, s, d in zip(patch, shape, divisor, strict=True))
        cost = step_cost(configuration, asked.dataset, batch_size=configuration.batch_size)
        assert cost.peak_bytes <= asked.resources.memory * 1.02


@pytest.mark.slow
@pytest.mark.parametrize("planner", ["unet", "residual_unet"])
def test_the_same_request_gives_the_same_plan(planner, tmp_path):
    first, again = (make_plan(request(PROSTATE, gigabytes=2), planner) for _ in range(2))
    assert first == again
    assert first.planner == planner
    write_plan(tmp_path / "plan.json", first)
    assert read_plan(tmp_path / "plan.json") == first
    check(first, request(PROSTATE, gigabytes=2))


@pytest.mark.parametrize("planner", ["unet", "residual_unet"])
def test_a_small_dataset_is_planned_alike_each_time(planner):
    asked = request(((12, 40, 40), (3.0, 1.0, 1.0)), gigabytes=1)
    plan = make_plan(asked, planner)
    assert plan == make_plan(asked, planner)
    check(plan, asked)


def test_memory_that_is_just_short_shrinks_the_patch():
    case = ((24, 48, 48), (1.0, 1.0, 1.0))
    plenty = make_plan(request(case, names=("3d_fullres",))).configuration("3d_fullres")
    asked = request(case, gigabytes=0.2, names=("3d_fullres",))
    plan = make_plan(asked)
    check(plan, asked)
    assert plenty.patch_size == (24, 48, 48)
    assert math.prod(plan.configuration("3d_fullres").patch_size) < math.prod(plenty.patch_size)


def test_thick_slices_as_in_the_prostate():
    plan = make_plan(request(PROSTATE, gigabytes=60))
    fullres, slices = plan.configuration("3d_fullres"), plan.configuration("2d")
    assert plan.transpose == (0, 1, 2)
    assert fullres.spacing == pytest.approx((3.6, 0.62, 0.62))
    assert fullres.median_shape == PROSTATE[0]
    # The first stages neither pool nor convolve across slices.
    assert fullres.network["kernels"][0] == [1, 3, 3]
    assert fullres.network["strides"][1] == [1, 2, 2]
    assert fullres.patch_size[0] < fullres.patch_size[1] / 2
    assert slices.patch_size == (320, 320)
    assert slices.loss["batch_dice"] and not fullres.loss["batch_dice"]
    assert data_id(plan, slices) == data_id(plan, fullres)


def test_slices_of_different_distance_keep_their_own():
    far = (PROSTATE[0], (5.0, 0.62, 0.62))
    asked = request(PROSTATE, far, gigabytes=60, names=("2d",))
    assert make_plan(asked).configuration("2d").spacing == pytest.approx((None, 0.62, 0.62))


def test_an_axis_order_other_than_the_files():
    plan = make_plan(request(((320, 20, 320), (0.62, 3.6, 0.62)), gigabytes=60, names=("3d_fullres",)))
    assert plan.transpose == (1, 0, 2)
    assert plan.configuration("3d_fullres").median_shape == (20, 320, 320)


@pytest.mark.slow
def test_more_memory_gives_larger_patches():
    def patch(gigabytes):
        asked = request(HEART, gigabytes=gigabytes, names=("3d_fullres",))
        plan = make_plan(asked)
        check(plan, asked)
        return math.prod(plan.configuration("3d_fullres").patch_size)

    assert patch(1) < patch(4) < patch(16)


def test_a_batch_holds_no_more_than_a_twentieth_of_the_voxels():
    few = make_plan(request(PROSTATE, gigabytes=40, count=3, names=("2d",))).configuration("2d")
    many = make_plan(request(PROSTATE, gigabytes=40, count=200, names=("2d",))).configuration("2d")
    assert few.batch_size == round(0.05 * 3 * 20) == 3
    assert many.batch_size > 8


def test_too_little_memory_is_said_with_what_is_needed():
    with pytest.raises(PlanError, match=r"memory: found 105 KB, expected at least (\d+) MB") as refused:
        make_plan(request(HEART, gigabytes=0.0001))
    enough = int(re.search(r"at least (\d+) MB", str(refused.value))[1])
    check(make_plan(request(HEART, gigabytes=enough / 1024)), request(HEART, gigabytes=enough / 1024))


@pytest.mark.parametrize("spacing", [(1.0, 0.5, 0.5), (1.0, 1.0, 1.0), (1.0, 3.0, 3.0)])
def test_images_that_are_slices_get_a_2d_plan_alone(spacing):
    asked = request(((1, 200, 300), spacing), gigabytes=40, channels=("rgb", "rgb", "rgb"))
    plan = make_plan(asked)
    check(plan, asked)
    assert list(plan.configurations) == ["2d"]
    assert plan.transpose == (0, 1, 2)
    assert plan.configuration("2d").median_shape == (1, 200, 300)
    assert [spec["name"] for spec in plan.configuration("2d").normalization] == ["rgb"] * 3


def test_channels_are_normalized_by_their_name():
    asked = request(PROSTATE, gigabytes=60, channels=("CT", "T2", "noNorm"), names=("3d_fullres",))
    ct, mr, none = make_plan(asked).configuration("3d_fullres").normalization
    assert ct == {"name": "ct", "lower": 1.0, "upper": 99.0, "mean": 50.0, "std": 20.0}
    assert mr == {"name": "z_score", "masked": False}
    assert none == {"name": "none"}


def test_images_with_much_cropped_away_are_normalized_inside_a_mask():
    asked = request(PROSTATE, gigabytes=60, names=("2d",))
    cases = tuple(replace(case, shape=(40, 320, 320)) for case in asked.fingerprint.cases)
    asked = replace(asked, fingerprint=replace(asked.fingerprint, cases=cases))
    assert make_plan(asked).configuration("2d").normalization[0]["masked"]


@pytest.mark.slow
def test_the_precision_is_what_the_device_has():
    names = ("3d_fullres",)
    plain, fast = (
        make_plan(request(HEART, gigabytes=4, names=names, bfloat16=b)).configuration(names[0]) for b in (False, True)
    )
    assert (plain.precision, fast.precision) == ("float32", "bfloat16")
    assert math.prod(fast.patch_size) >= math.prod(plain.patch_size)


def test_short_budgets_give_narrow_networks_and_small_batches():
    def planned(seconds):
        asked = request(PROSTATE, gigabytes=60, time_budget=seconds, names=("3d_fullres",), speed="reference")
        return make_plan(asked).configuration("3d_fullres")

    hasty, patient = planned(600), planned(1e7)
    assert hasty.network["features"][0] == 16 and patient.network["features"][0] == 32
    assert hasty.batch_size == 2
    assert (hasty.training.time_budget, hasty.training.iterations) == (600, None)
    assert 32**3 <= 1.1 * math.prod(hasty.patch_size) < 0.5 * math.prod(patient.patch_size)


def test_a_time_that_no_network_fits_says_what_would():
    with pytest.raises(PlanError, match=r"time budget: found 20s, enough for \d+ steps .* expected at least \d+m"):
        make_plan(request(PROSTATE, time_budget=20, names=("3d_fullres",), speed="reference"))


def runs(asked, voxels):
    """Say of each case how many voxels a line through its object has on average."""
    cases = tuple(replace(case, runs={"a": (voxels,) * 3}) for case in asked.fingerprint.cases)
    return replace(asked, fingerprint=replace(asked.fingerprint, cases=cases))


def test_a_short_time_coarsens_images_of_thick_objects_alone():
    picture = ((1, 512, 512), (1.0, 1.0, 1.0))
    asked = request(picture, names=("2d",), time_budget=180, speed="reference")
    thick, thin = (make_plan(runs(asked, voxels)).configuration("2d") for voxels in (200.0, 4.0))
    assert thin.spacing == (1.0, 1.0, 1.0) and thick.spacing[1] == thick.spacing[2] > 1.5
    seen = [math.prod(found.patch_size) / math.prod(found.median_shape) for found in (thick, thin)]
    assert seen[0] > 2 * seen[1]
    patient = make_plan(runs(replace(asked, resources=replace(asked.resources, time_budget=1e7)), 200.0))
    assert patient.configuration("2d").spacing == (1.0, 1.0, 1.0)


def test_the_finest_axes_are_coarsened_first():
    asked = request(((60, 256, 256), (3.0, 1.0, 1.0)), names=("3d_fullres",), time_budget=300, speed="reference")
    spacing = make_plan(runs(asked, 40.0)).configuration("3d_fullres").spacing
    assert spacing[0] >= 3.0 and spacing[1] == spacing[2] > 1.5


def test_plans_say_which_speed_they_assume():
    plan = make_plan(request(PROSTATE, names=("2d",), time_budget=600, speed="reference"))
    assert any("two cores with AVX2" in decision.decision for decision in plan.explanation if decision.about == "speed")


def test_an_unknown_configuration_or_planner():
    with pytest.raises(PlanError, match="'4d': expected one of 2d, 3d_lowres, 3d_fullres, 3d_cascade_fullres"):
        make_plan(request(PROSTATE, names=("4d",)))
    with pytest.raises(PlanError, match="'unet3'"):
        make_plan(request(PROSTATE), "unet3")


def test_every_decision_is_explained():
    explanation = make_plan(request(PROSTATE, gigabytes=60)).explanation
    decisions = {decision.about: decision for decision in explanation}
    assert list(decisions) == ["data", "2d", "3d_fullres"]
    assert "target spacing 3.6×0.62×0.62 mm" in explanation[0].decision
    fullres = decisions["3d_fullres"]
    assert "patch 20×320×320 of 20×320×320" in fullres.decision and "of 60.0 GB" in fullres.decision
    reasons = "\n".join(fullres.reasons)
    assert "z (3.6 mm) is pooled 2 times, 20 → 5 voxels" in reasons and "kernel 1 in 2 stages" in reasons
    assert "20×320×320 needs" in reasons and "a patch covers 100% of the median image" in reasons


@pytest.mark.slow
@settings(max_examples=5, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(
    st.tuples(*[st.integers(4, 120)] * 3),
    st.tuples(*[st.sampled_from([0.3, 0.5, 1.0, 1.7, 4.0])] * 3),
    st.sampled_from([0.3, 1.0, 3.0]),
)
def test_any_dataset_gives_a_plan_that_can_be_carried_out(tmp_path_factory, shape, spacing, gigabytes):
    asked = request((shape, spacing), gigabytes=gigabytes)
    try:
        plan = make_plan(asked)
    except PlanError as error:
        assert "expected at least" in str(error)
        return
    check(plan, asked)
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    write_plan(path, plan)
    assert read_plan(path) == plan
    assert json.loads(path.read_text())["version"] == PLAN_VERSION
