"""Laws that every plan keeps, whatever the data: it can be built, fits the memory, and is the same each time."""

from __future__ import annotations

import math

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.learning.costs.memory import batch_cost, step_cost
from autoseg.plan.files import read_plan, write_plan
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.resources import GIGABYTE, Resources

SEEN = Intensities(50.0, 20.0, 48.0, -9.0, 300.0, 1.0, 99.0)


@st.composite
def requests(draw):
    """Datasets of any geometry, with any number of channels and classes, on a GPU of any size."""
    spacing = [draw(st.floats(0.1, 12)) for _ in range(3)]
    shape = [draw(st.integers(16, 1024)) for _ in range(3)]
    count = draw(st.integers(1, 40))
    rng = draw(st.randoms(use_true_random=False))
    measures = []
    for i in range(count):
        own = tuple(max(1, round(n * rng.uniform(0.7, 1.4))) for n in shape)
        cropped = tuple(max(1, round(n * rng.uniform(0.5, 1))) for n in own)
        apart = tuple(s * rng.choice([1, 1, 1.5]) for s in spacing)
        measures.append(CaseMeasure(f"case_{i:03d}", "", own, cropped, apart, {"class_1": 9}))
    channels = ("CT", "MR", "PET", "T2", "noNorm", "rgb")[: draw(st.integers(1, 6))]
    labels = {"background": 0, **{f"class_{i}": i for i in range(1, draw(st.integers(1, 120)) + 1)}}
    dataset = Dataset("made", channels, labels, ".nii.gz", ())
    gigabytes = draw(st.sampled_from([1.0, 4.0, 11.0, 24.0, 80.0]))
    resources = Resources("cuda", int(gigabytes * GIGABYTE), bfloat16=draw(st.booleans()))
    return PlanRequest(dataset, Fingerprint(tuple(measures), (SEEN,) * len(channels)), resources)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("planner", ["unet", "residual_unet"])
@settings(max_examples=2, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(asked=requests())
def test_every_plan_can_be_carried_out(planner, tmp_path_factory, asked):
    try:
        plan = make_plan(asked, planner)
    except PlanError as error:
        assert "memory: found" in str(error) and "expected at least" in str(error)
        return
    assert make_plan(asked, planner) == plan
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    write_plan(path, plan)
    assert read_plan(path) == plan
    for configuration in plan.configurations.values():
        check(configuration, asked)
    if "3d_lowres" in plan.configurations:
        check_cascade(plan)


def check(configuration, asked):
    """The patch halves as often as the network does, is no larger than the images, and its step fits."""
    strides, patch = configuration.network["strides"], configuration.patch_size
    divisor = [math.prod(stride[axis] for stride in strides) for axis in range(configuration.dimension)]
    shape = configuration.median_shape[3 - configuration.dimension :]
    for n, d, s in zip(patch, divisor, shape, strict=True):
        assert n % d == 0
        assert n < max(s, 4) + d
    assert configuration.batch_size >= 2
    peak = step_cost(configuration, asked.dataset, batch_size=configuration.batch_size).peak_bytes
    assert peak <= asked.resources.memory
    assert peak == batch_cost(configuration, asked.dataset).peak_bytes(configuration.batch_size)


def check_cascade(plan):
    """A lower resolution sees more of the image in its patch, and the cascade goes on from it at full resolution."""
    low, full = plan.configurations["3d_lowres"], plan.configurations["3d_fullres"]
    cascade = plan.configurations["3d_cascade_fullres"]

    def seen(configuration):
        return math.prod(configuration.patch_size) / math.prod(configuration.median_shape)

    assert seen(full) < 0.25 <= seen(low)
    assert math.prod(full.median_shape) >= 2 * math.prod(low.median_shape)
    assert all(a >= b for a, b in zip(low.spacing, full.spacing, strict=True))
    assert (cascade.previous_stage, cascade.spacing) == ("3d_lowres", full.spacing)
    assert all(a <= b for a, b in zip(cascade.patch_size, full.patch_size, strict=True))
    assert list(plan.configurations) == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
