from __future__ import annotations

import json
import logging
import math
from dataclasses import replace

import pytest
import torch

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.files.records import to_plain
from autoseg.learning.costs.memory import batch_cost
from autoseg.learning.costs.work import BYTES, DEPTHWISE, KINDS, OPERATIONS, PRODUCT, convolution_kind
from autoseg.learning.step_cost import BatchCost
from autoseg.networks.unet import unet_spec
from autoseg.plan.schema import Configuration
from autoseg.planners import speed as module
from autoseg.planners import speed_measuring
from autoseg.planners.recipe import training
from autoseg.planners.speed import REFERENCE, kept_in, kept_speeds, reference_speed, renewed_speed, speed_of_machine
from autoseg.planners.speed_measuring import measured_speed
from autoseg.planners.topology import pad_to_divisor

DATASET = Dataset("made", ("MR",), {"background": 0, "a": 1}, ".nii.gz", ())


def configuration(patch=(16, 16, 16), features=8, network=None):
    patch, topology = pad_to_divisor(patch, (1.0,) * len(patch))
    return Configuration(
        dimension=3,
        spacing=(1.0, 1.0, 1.0),
        median_shape=patch,
        patch_size=patch,
        batch_size=2,
        normalization=({"name": "none"},),
        network=network or unet_spec(3, topology, features),
        loss={"name": "dice_cross_entropy", "batch_dice": False},
        sampling={},
        augmentation={},
        training=training(600.0),
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of caches that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget(monkeypatch)


def forget(monkeypatch):
    """Be as a new process, which has read and measured nothing."""
    monkeypatch.setattr(module, "_known", {})


@pytest.fixture
def measured(monkeypatch):
    """Count what is measured, which takes no time."""
    counted = []

    def measure(device, precision, *, machine):
        counted.append(precision)
        return replace(reference_speed(), machine=machine)

    monkeypatch.setattr(speed_measuring, "measured_speed", measure)
    return counted


def test_steps_take_time_in_proportion_to_their_samples():
    cost = BatchCost(((0, 1),), 0, 0, fixed_work={PRODUCT: 200e9}, sample_work={BYTES: 8e9, PRODUCT: 100e9})
    assert reference_speed().seconds(cost, 3) == pytest.approx(2 + 3 * 2)


def test_work_is_counted_by_kinds():
    cost = batch_cost(configuration(features=16), DATASET)
    assert cost.sample_work[convolution_kind(3, 16)] > cost.sample_work[convolution_kind(3, 1)] > 0
    assert cost.sample_work[BYTES] > 0 and cost.fixed_work[OPERATIONS] > 100
    # Muon's products, whatever the batch; what is not counted twice adds up to all floating-point operations.
    assert cost.fixed_work[PRODUCT] > 0
    dense = sum(amount for kind, amount in cost.sample_work.items() if kind not in (BYTES, OPERATIONS))
    assert dense == pytest.approx(cost.sample_flops)
    depthwise = {"name": "mednext", "features": [16, 32], "kernels": [[3] * 3] * 2, "strides": [[1] * 3, [2] * 3]}
    assert batch_cost(configuration(network=depthwise), DATASET).sample_work[DEPTHWISE] > 0


def test_every_kind_is_measured_and_the_random_state_is_left_alone(monkeypatch):
    monkeypatch.setattr(speed_measuring, "SIZES", {"cpu": {2: 16, 3: 8}, "cuda": {}})
    monkeypatch.setattr(speed_measuring, "ROUNDS", 1)
    before = torch.get_rng_state()
    speed = measured_speed("cpu", "float32", machine="this one")
    assert set(speed.rates) == set(KINDS)
    assert all(0 < rate < 1e16 for rate in speed.rates.values()) and speed.augmented_voxels > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert "this one: " in speed.described


@pytest.mark.parametrize("figure", [1.0, 3.7e11, 0.02])
def test_figures_that_wander_a_little_are_the_same(figure):
    rounded = speed_measuring._rounded(figure)
    assert rounded == pytest.approx(figure, rel=0.05)
    assert speed_measuring._rounded(rounded * 1.02) == rounded


def test_a_machine_is_measured_once_for_each_precision(measured, monkeypatch):
    first = speed_of_machine("cpu", "float32")
    forget(monkeypatch)
    assert speed_of_machine("cpu", "float32") == first
    speed_of_machine("cpu", "bfloat16")
    assert measured == ["float32", "bfloat16"] and len(kept_speeds()) == 2
    renewed_speed("cpu", "float32")
    assert measured == ["float32", "bfloat16", "float32"] and len(kept_speeds()) == 2


def test_the_speed_of_another_machine_is_not_taken(measured, monkeypatch):
    speed_of_machine("cpu", "float32")
    monkeypatch.setattr(module, "machine_key", lambda device, precision: f"another one, {precision}, PyTorch 9")
    assert speed_of_machine("cpu", "float32").machine.startswith("another one")
    assert len(measured) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"machine": "b", "rates": {}}}'])
def test_a_broken_file_is_measured_again(text, measured, caplog, monkeypatch):
    kept_in().parent.mkdir(parents=True)
    kept_in().write_text(text)
    with caplog.at_level(logging.WARNING):
        speed_of_machine("cpu", "float32")
    assert "cannot be read" in caplog.text and measured == ["float32"]
    caplog.clear()
    forget(monkeypatch)
    speed_of_machine("cpu", "float32")
    assert not caplog.text and measured == ["float32"]


def test_a_folder_that_cannot_be_written_costs_a_measurement_alone(measured, caplog):
    kept_in().parent.parent.mkdir(parents=True)
    kept_in().parent.write_text("a file is in the way")
    assert speed_of_machine("cpu", "float32").augmented_voxels > 0
    assert "measured again" in caplog.text
    speed_of_machine("cpu", "float32")
    assert measured == ["float32"]


def test_speeds_may_be_stated(measured, tmp_path):
    assert speed_of_machine("cpu", "float32", name=REFERENCE) == reference_speed()
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"a cluster, float32, PyTorch 2.13": to_plain(reference_speed())}))
    assert speed_of_machine("cuda:1", "float32", name=str(path)) == reference_speed()
    with pytest.raises(PlanError, match="found 0 speeds for bfloat16, expected one"):
        speed_of_machine("cuda:1", "bfloat16", name=str(path))
    assert not measured


def test_rates_that_are_missing_are_named(tmp_path):
    plain = to_plain(reference_speed())
    del plain["rates"][BYTES]
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"a cluster, float32, PyTorch 2.13": plain}))
    with pytest.raises(PlanError, match=r"field 'rates.bytes' is missing"):
        speed_of_machine("cpu", "float32", name=str(path))


def test_estimates_are_finite_for_every_network_of_the_registry_that_is_small():
    assert math.isfinite(reference_speed().seconds(batch_cost(configuration(), DATASET), 2))
