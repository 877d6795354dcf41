from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from autoseg.errors import TrainingError
from autoseg.learning.batch import Batch
from autoseg.learning.monitor import MetricsFile, plot_progress
from autoseg.learning.sanity import EARLY_STEPS, SanityCheck, check_finite
from autoseg.workspace.paths import read_metrics


def batch(*labels, image=0.0):
    return Batch(torch.full((1, 1, 2, 2), image), torch.tensor([*labels, *[0] * (4 - len(labels))]).reshape(1, 2, 2))


def watch(batches, losses, caplog):
    check = SanityCheck({"liver": (1,), "tumour": (2,)})
    with caplog.at_level(logging.WARNING, "autoseg"):
        for step in range(1, EARLY_STEPS + 1):
            check.batches({"labelled": batches})
            check.loss(losses(step), step)
    return caplog.text


def test_a_good_start_says_nothing(caplog):
    assert watch(batch(1, 2), lambda step: 1 / step, caplog) == ""


def test_no_foreground(caplog):
    assert "no foreground in the training patches of the first 100 steps" in watch(
        batch(), lambda step: 1 / step, caplog
    )


def test_a_class_that_does_not_turn_up(caplog):
    assert "classes missing in the training patches of the first 100 steps: tumour" in watch(
        batch(1), lambda step: 1 / step, caplog
    )


def test_a_loss_that_does_not_fall(caplog):
    assert "the loss did not fall" in watch(batch(1, 2), lambda step: 1.0, caplog)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number(loss):
    batches = {"labelled": replace(batch(1), cases=("b", "a")), "unlabelled": replace(batch(1), cases=("c", "a"))}
    with pytest.raises(
        TrainingError, match=rf"the loss 'dice' is {loss} at step 3 \(cases b, a, c\); lower the plan's"
    ):
        check_finite({"other": 1.0, "dice": loss}, 3, batches)


def test_images_that_are_no_numbers():
    with pytest.raises(TrainingError, match="NaN or infinite values after normalization"):
        SanityCheck({"liver": (1,)}).batches({"labelled": batch(1, image=float("nan"))})


def test_labels_of_another_dataset():
    with pytest.raises(TrainingError, match="contains class 3, expected at most 1"):
        SanityCheck({"liver": (1,)}).batches({"labelled": batch(3)})


def test_metrics_behind_the_checkpoint_are_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "los')
    MetricsFile(path, step=2).append({"step": 3, "loss": 0.5})
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]


def test_curves_are_drawn(tmp_path):
    records = [
        {
            "step": s,
            "loss": 1 / s,
            "validation_dice": 0.5,
            "class_dice": {"liver": 0.4, "tumour": None},
            "learning_rate": 1,
        }
        for s in (1, 2, 3)
    ]
    plot_progress(tmp_path / "progress.png", records, "title")
    plot_progress(tmp_path / "nothing.png", [], "title")
    assert (tmp_path / "progress.png").read_bytes()[:4] == b"\x89PNG"
