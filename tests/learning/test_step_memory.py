from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoseg.data.dataset import Dataset
from autoseg.learning.costs.memory import batch_cost, step_cost
from autoseg.learning.step_cost import LIBRARIES, MOST_SLACK, allowing
from autoseg.plan.schema import Configuration
from autoseg.planners.recipe import training

DATASET = Dataset("made", ("MR",), {"background": 0, "a": 1, "b": 2}, ".nii.gz", ())
CONFIGURATION = Configuration(
    dimension=3,
    spacing=(1.0, 1.0, 1.0),
    median_shape=(128, 128, 128),
    patch_size=(128, 128, 128),
    batch_size=2,
    normalization=({"name": "none"},),
    network={
        "name": "unet",
        "features": [8, 16],
        "kernels": [[3, 3, 3]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "convolutions": 2,
        "decoder_convolutions": 2,
        "deep_supervision": True,
    },
    loss={"name": "dice_cross_entropy", "batch_dice": False},
    sampling={},
    augmentation={},
    training=training(600.0),
)


def cost(batch=2, **changes):
    return step_cost(replace(CONFIGURATION, **changes), DATASET, batch_size=batch)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_count_tells_those_of_every_batch(precision):
    configuration = replace(CONFIGURATION, precision=precision)
    counted = batch_cost(configuration, DATASET)
    for batch in (1, 2, 5, 9, 40):
        found = step_cost(configuration, DATASET, batch_size=batch)
        assert counted.peak_bytes(batch) == found.peak_bytes
        assert counted.flops(batch) == pytest.approx(found.flops, rel=1e-6)


def test_what_belongs_to_samples_but_is_no_multiple_of_them_is_counted_as_theirs():
    # The voxels of highest loss: a share of all, rounded.
    highest = replace(CONFIGURATION, loss={"name": "top_k_cross_entropy", "share": 0.937}, patch_size=(32, 32, 32))
    counted = batch_cost(highest, DATASET)
    for batch in (1, 2, 7):
        found = step_cost(highest, DATASET, batch_size=batch)
        assert counted.peak_bytes(batch) == pytest.approx(found.peak_bytes, rel=1e-5)


def test_the_largest_batch_is_the_last_that_fits():
    counted = batch_cost(CONFIGURATION, DATASET)
    for memory in (10**7, 10**8, 10**9 + 7):
        batch = counted.largest_batch(memory)
        assert batch == 0 or counted.peak_bytes(batch) <= memory
        assert counted.peak_bytes(batch + 1) > memory


def test_a_configuration_is_counted_once():
    first = batch_cost(CONFIGURATION, DATASET)
    assert batch_cost(replace(CONFIGURATION, batch_size=7, median_shape=(9, 9, 9)), DATASET) is first
    assert batch_cost(replace(CONFIGURATION, patch_size=(64, 128, 128)), DATASET) is not first


def test_bfloat16_takes_less():
    assert cost(precision="bfloat16").peak_bytes < 0.85 * cost().peak_bytes


def test_memory_and_work_grow_with_the_patch():
    small, large = cost(), cost(patch_size=(256, 128, 128))
    assert 1.8 < large.peak_bytes / small.peak_bytes <= 2.1
    assert large.flops == pytest.approx(2 * small.flops, rel=0.02)


def test_every_activation_that_backward_needs_is_counted():
    features, patch, batch = 8, 128**3, 2
    # Two convolutions with their normalizations in the encoder and two in the decoder keep their inputs, in float32.
    assert cost(batch).peak_bytes > 4 * 2 * features * patch * batch * 4


@pytest.mark.parametrize(
    ("optimizer", "copies"),
    [("sgd", 3), ("adamw", 4), ("muon", 4), ("adam", 4), ("rmsprop", 4), ("adadelta", 4), ("angular_grad", 6)],
)
def test_weights_gradients_and_the_optimizers_state_are_counted(optimizer, copies):
    wide = {**CONFIGURATION.network, "features": [8, 1024]}
    rates = {"momentum": 0.9} if optimizer == "sgd" else {"vector_learning_rate": 1e-3} if optimizer == "muon" else {}
    spec = {"name": optimizer, "learning_rate": 1e-3, **rates}
    changed = replace(CONFIGURATION.training, optimizer=spec)
    # Muon keeps one momentum but needs room for the matrix that it makes orthogonal.
    weights = 1024 * 1024 * 27 * 4
    assert cost(1, network=wide, patch_size=(4, 4, 4), training=changed).peak_bytes > copies * weights


def test_an_average_of_the_weights_is_counted():
    wide = {**CONFIGURATION.network, "features": [8, 512]}
    weights = 512 * 512 * 27 * 4
    averaged = replace(CONFIGURATION.training, ema_decay=0.99)
    with_average = cost(1, network=wide, patch_size=(4, 4, 4), training=averaged).peak_bytes
    assert with_average > cost(1, network=wide, patch_size=(4, 4, 4)).peak_bytes + weights


def test_the_copies_that_convolutions_make_for_themselves_are_counted():
    # At the finest stage the decoder convolves 16 channels into 8; going back, both and their copies are there at once.
    activations = 2 * (16 + 16) * 128**3 * 4
    assert cost(2).peak_bytes > LIBRARIES + 2 * activations


def test_what_no_count_sees_is_bounded():
    assert allowing(0) == LIBRARIES
    assert allowing(10**12) == 10**12 + LIBRARIES + MOST_SLACK
    assert all(allowing(n) < allowing(n + 1000) for n in range(0, 10**9, 10**7))


def test_the_work_is_that_of_the_convolutions():
    one = {**CONFIGURATION.network, "features": [8, 8]}
    full = 2 * 27 * (1 * 8 + 8 * 8 + 16 * 8 + 8 * 8) * 128**3  # the finest stage: two going down, two coming up
    half = 2 * 27 * (2 * 8 * 8) * 64**3
    forward = full + half
    found = cost(1, network=one).flops
    assert 2.5 * forward < found < 3.5 * forward


def test_nothing_is_left_behind():
    before = torch.get_rng_state()
    assert cost() == cost()
    assert torch.equal(torch.get_rng_state(), before)
