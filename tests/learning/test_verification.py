from __future__ import annotations

import pytest

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.learning.costs.verification import Verification, verify_memory
from autoseg.networks.unet import unet_spec
from autoseg.plan.schema import Configuration
from autoseg.planners.recipe import training
from autoseg.planners.topology import pad_to_divisor

DATASET = Dataset("made", ("MR",), {"background": 0, "a": 1}, ".nii.gz", ())


def configuration(patch, *, features):
    _, topology = pad_to_divisor(patch, (1.0, 1.0, 1.0))
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
        training=training(600.0),
    )


def test_the_excess_is_relative_to_what_was_measured():
    assert Verification(planned_bytes=110, measured_bytes=100).excess == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "features"), [((32, 64, 64), 16), ((64, 64, 64), 16)])
def test_planned_memory_is_that_of_a_real_step(patch, features):
    found = verify_memory(configuration(patch, features=features), DATASET, device="cpu")
    # The aim is 15 %, and rather too much than too little; how much a heap keeps differs from run to run.
    assert -0.15 < found.excess < 0.35


def test_a_step_that_fails_says_why():
    with pytest.raises(PlanError, match=r"a real step on nowhere, planned with .*, failed"):
        verify_memory(configuration((16, 16, 16), features=2), DATASET, device="nowhere")
