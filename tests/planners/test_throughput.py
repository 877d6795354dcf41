from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from autoseg.dataset import Dataset
from autoseg.plan import Configuration
from autoseg.planners import throughput as module
from autoseg.planners.memory import BatchCost
from autoseg.planners.recipe import training
from autoseg.planners.throughput import Throughput, throughput
from autoseg.planners.topology import pad_to_divisor
from autoseg.planners.unet import unet_spec

DATASET = Dataset("made", ("MR",), {"background": 0, "a": 1}, ".nii.gz", ())


def configuration(patch=(128, 64, 64), features=4, seconds=600.0):
    patch, topology = pad_to_divisor(patch, (1.0,) * len(patch))
    return Configuration(
        dimension=3,
        spacing=(1.0, 1.0, 1.0),
        median_shape=patch,
        patch_size=patch,
        batch_size=2,
        normalization=({"name": "none"},),
        network=unet_spec(3, topology, features),
        loss={"name": "dice_cross_entropy", "batch_dice": False},
        sampling={},
        augmentation={},
        training=training(seconds),
    )


def test_steps_take_time_in_proportion_to_their_samples():
    cost = BatchCost(((0, 1),), fixed_flops=600, sample_flops=1000)
    assert Throughput(samples=500.0, optimizer=300.0).seconds(cost, 3) == 3 * 2 + 2
    assert Throughput(samples=500.0, optimizer=math.inf).seconds(cost, 3) == 6


def test_a_network_is_timed_once_and_the_random_state_is_left_alone(monkeypatch):
    timed = []
    original = module._time_steps
    monkeypatch.setattr(module, "_measured", {})
    monkeypatch.setattr(module, "_time_steps", lambda *about: timed.append(about) or original(*about))
    before = torch.get_rng_state()
    found = throughput(configuration(), DATASET, "cpu")
    assert 1e6 < found.samples < 1e14
    assert throughput(replace(configuration(), batch_size=9, previous_stage="3d_lowres"), DATASET, "cpu") == found
    assert len(timed) == 1
    throughput(configuration(features=8), DATASET, "cpu")
    assert len(timed) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_timed_is_small_and_can_be_built():
    whole = configuration(patch=(16, 320, 320), features=32)
    small = module._small(whole, module.TIMED_VOXELS["cpu"], (0, 0, 0))
    assert math.prod(small.patch_size) < 2 * module.TIMED_VOXELS["cpu"]
    assert small.network["features"] == whole.network["features"][:3]
    assert small.network["convolutions"] == whole.network["convolutions"]
    assert throughput(replace(whole, network=small.network), DATASET, "cpu").samples > 0


@pytest.mark.parametrize("figure", [1.0, 3.7e11, 0.02])
def test_figures_that_wander_a_little_are_the_same(figure):
    rounded = module._rounded(figure)
    assert rounded == pytest.approx(figure, rel=0.05)
    assert module._rounded(rounded * 1.02) == rounded


def test_optimizers_that_multiply_no_matrices_take_no_time(monkeypatch):
    monkeypatch.setattr(module, "_measured", {})
    long = replace(configuration(), training=replace(training(None), time_budget=60.0))
    assert math.isinf(throughput(long, DATASET, "cpu").optimizer)
