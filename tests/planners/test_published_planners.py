"""What holds for the planner of each network beside nnU-Net's."""

from __future__ import annotations

import pytest

from autoseg.dataset import Dataset
from autoseg.examination import CaseMeasure
from autoseg.fingerprint import Fingerprint, Intensities
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.memory import step_cost
from autoseg.planners.resources import Resources
from autoseg.planners.throughput import throughput

MEGABYTE = 1024**2
PLANNERS = [
    "unet_scinets",
    "convmixer",
    "unet_sum",
    "unet_strided",
    "fcn",
    "fcn_residual",
    "fcn_shallow",
    "fcn_resnet50",
    "vnet",
]
INTENSITIES = Intensities(
    mean=50.0, deviation=20.0, median=48.0, minimum=-9.0, maximum=300.0, percentile_00_5=1.0, percentile_99_5=99.0
)


def request(shape, spacing, *, megabytes, configurations, channels=("MR", "T2"), **resources):
    measures = (CaseMeasure(f"case_{i}", "", shape, shape, spacing, {"a": 9}) for i in range(5))
    dataset = Dataset("made", channels, {"background": 0, "a": 1}, ".nii.gz", ())
    fingerprint = Fingerprint(tuple(measures), (INTENSITIES,) * len(channels))
    budget = Resources("cpu", megabytes * MEGABYTE, bfloat16=False, is_here=False, **resources)
    return PlanRequest(dataset, fingerprint, budget, configurations)


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_a_step_fits_into_a_tiny_budget(planner, configuration):
    asked = request((12, 40, 44), (3.0, 1.0, 1.0), megabytes=700, configurations=(configuration,))
    plan = make_plan(asked, planner)
    planned = plan.configuration(configuration)
    assert plan.planner == planner and planned.batch_size >= 2
    assert step_cost(planned, asked.dataset, batch_size=planned.batch_size).peak_bytes <= 700 * MEGABYTE
    said = next(decision for decision in plan.explanation if decision.about == configuration)
    assert "features" in said.decision
    # Only of networks that pool as the U-Net's rules say is that said.
    assert any("is pooled" in reason for reason in said.reasons) == ("strides" in planned.network)
    assert throughput(planned, asked.dataset, "cpu").samples > 0
