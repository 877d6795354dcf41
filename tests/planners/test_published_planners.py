"""What holds for the planner of each network beside nnU-Net's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.learning.costs.memory import batch_cost, step_cost
from autoseg.learning.step_cost import BatchCost
from autoseg.networks.build import build_network, output_size
from autoseg.networks.convmixer import convmixer_spec
from autoseg.networks.planning import Topology
from autoseg.planners import fitting
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.resources import Resources
from autoseg.planners.speed import reference_speed

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
    "mednext",
    "mednext_b_k5",
    "hyperdense",
    "deepmedic",
    "deepmedic_shallow",
    "deepmedic_deep",
    "deepmedic_big",
    "deepmedic_lean",
    "deepmedic_three",
    "deepmedic_residual",
    "deepmedic_wide",
    "deepmedic_2d_wider",
    "deepmedic_2d_deeper",
    "deepmedic_2d_large",
    "probabilistic_unet",
]
INTENSITIES = Intensities(
    mean=50.0, std=20.0, median=48.0, minimum=-9.0, maximum=300.0, percentile_00_5=1.0, percentile_99_5=99.0
)


def request(shape, spacing, *, configurations, memory=1024 * MEGABYTE, channels=("MR", "T2"), **resources):
    measures = (CaseMeasure(f"case_{i}", "", shape, shape, spacing, {"a": 9}) for i in range(5))
    dataset = Dataset("made", channels, {"background": 0, "a": 1}, ".nii.gz", ())
    fingerprint = Fingerprint(tuple(measures), (INTENSITIES,) * len(channels))
    budget = Resources("cpu", memory, bfloat16=False, is_here=False, **resources)
    return PlanRequest(dataset, fingerprint, budget, configurations)


QUICK = ("fcn",)
"""Planned within memory in every run of the tests; the others in slow ones."""
ALIKE = ("unet_strided", "fcn_residual", "fcn_shallow", "mednext")
"""Those whose networks differ from another's in little that memory or time depend on."""
FITTED = [name for name in PLANNERS if name not in ALIKE and ("deepmedic_" not in name or name == "deepmedic_three")]


@pytest.fixture
def free(monkeypatch):
    """Let every step cost nothing, so that the first patch that is tried is planned."""
    cost = BatchCost(((0, 1),), fixed_flops=0, sample_flops=1)
    monkeypatch.setattr(fitting, "batch_cost", lambda configuration, dataset: cost)


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize(("shape", "spacing"), [((12, 40, 44), (3.0, 1.0, 1.0)), ((70, 50, 60), (1.0, 1.0, 1.2))])
@pytest.mark.parametrize("channels", [1, 4])
def test_every_planned_network_takes_its_patch(planner, shape, spacing, channels, free):
    asked = request(shape, spacing, configurations=("2d", "3d_fullres"), channels=("MR",) * channels)
    plan = make_plan(asked, planner)
    assert plan.planner == planner
    for name in ("2d", "3d_fullres"):
        planned = plan.configuration(name)
        with torch.device("meta"):
            network = build_network(planned, asked.dataset)
            logits = network(torch.empty(1, channels, *planned.patch_size))
        assert logits[0].shape == (1, 2, *output_size(planned.patch_size, network.margin))
        said = next(decision for decision in plan.explanation if decision.about == name)
        assert "features" in said.decision
        # It is said why axes are pooled as they are, where they are pooled as the U-Net's are.
        follows = "strides" in planned.network and planner != "fcn_shallow"
        assert any("is pooled" in reason for reason in said.reasons) == follows


@pytest.mark.parametrize(
    "planner", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FITTED]
)
def test_a_step_fits_into_a_tiny_budget_and_is_timed(planner):
    memory = 700 * MEGABYTE
    asked = request((12, 40, 44), (3.0, 1.0, 1.0), memory=memory, configurations=("3d_fullres",))
    planned = make_plan(asked, planner).configuration("3d_fullres")
    assert planned.batch_size >= 2
    assert step_cost(planned, asked.dataset, batch_size=planned.batch_size).peak_bytes <= memory
    assert 0 < reference_speed().seconds(batch_cost(planned, asked.dataset), planned.batch_size) < 1000


def test_a_convmixer_is_narrower_where_memory_is_short_and_its_patches_are_about_cubes_in_mm():
    topology = Topology(strides=((1, 1, 1), (1, 2, 2)), kernels=((1, 3, 3), (3, 3, 3)))
    spec = convmixer_spec(3, topology, 16)
    assert (spec["features"], spec["decoded_features"], spec["patch"]) == (128, 50, [2, 4, 4])


def test_hyperdensenet_has_the_segments_of_the_paper_in_3d_and_whole_patches_in_2d(free):
    asked = request((120, 140, 130), (1.0, 1.0, 1.0), configurations=("2d", "3d_fullres"))
    plan = make_plan(asked, "hyperdense")
    assert all(27 <= edge < 27 + 8 for edge in plan.configuration("3d_fullres").patch_size)
    assert all(edge >= 128 for edge in plan.configuration("2d").patch_size)


def test_hyperdensenet_learns_faster_than_others_where_time_is_bounded(free):
    def optimizer(planner, **resources):
        asked = request((60, 60, 60), (1.0, 1.0, 1.0), configurations=("3d_fullres",), **resources)
        # On a CPU that nobody waits for, a night bounds the time.
        on_gpu = replace(asked, resources=replace(asked.resources, device="cuda"))
        return make_plan(on_gpu, planner).configuration("3d_fullres").training.optimizer

    assert optimizer("hyperdense") == optimizer("unet")
    bounded, others = optimizer("hyperdense", time_budget=600.0), optimizer("unet", time_budget=600.0)
    assert bounded["name"] == others["name"] == "muon"
    assert bounded["learning_rate"] == 4 * others["learning_rate"]
    assert bounded["vector_learning_rate"] == 4 * others["vector_learning_rate"]
