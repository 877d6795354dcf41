from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.augmentation import build_augmentation
from autoseg.data.dataset import Dataset
from autoseg.learning.batch import Sample
from autoseg.learning.patches import augmented_on_device
from autoseg.learning.validation.cases import patch_scores
from autoseg.preprocessing.channel_layout import ChannelLayout

CPU = torch.device("cpu")
PATCH = (4, 6)
DATASET = Dataset("d", ("CT",), {"background": 0, "a": 1, "b": 2, "c": 3}, ".nii.gz", ())


class Reads(nn.Module):
    """Predicts the class that the first channel names."""

    def forward(self, x):
        return [nn.functional.one_hot(x[:, 0].long(), 4).movedim(-1, 1).float()]


@dataclass
class Patches:
    """Stands for a source: image and labels of each sample as given."""

    predicted: np.ndarray
    labels: np.ndarray
    batch_size: int

    def __post_init__(self):
        self.augmentation = build_augmentation(
            {"name": "none"}, dimension=2, patch_size=PATCH, spacing=(1.0, 1.0), mirror_axes=(), layout=ChannelLayout(1)
        )

    def sample(self, index):
        parameters = self.augmentation.sample(np.random.default_rng(index))
        return Sample(self.predicted[index][None].astype(np.float32), self.labels[index], parameters)

    def to_device(self, samples, device):
        return augmented_on_device(samples, self.augmentation, device)


def scores(predicted, labels, *, patches, batch_size=2):
    return patch_scores(Reads(), Patches(predicted, labels, batch_size), patches=patches, dataset=DATASET, device=CPU)


def dice(predicted, labels, **arguments):
    return {name: score.dice for name, score in scores(predicted, labels, **arguments).items()}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_voxels_of_all_patches_are_pooled(batch_size):
    rng = np.random.default_rng(0)
    predicted, labels = (rng.integers(0, 4, (5, *PATCH)).astype(np.int16) for _ in range(2))
    found = dice(predicted, labels, patches=5, batch_size=batch_size)
    for index, name in enumerate("abc", start=1):
        p, r = predicted == index, labels == index
        assert found[name] == pytest.approx(2 * (p & r).sum() / (p.sum() + r.sum()))


def test_a_class_that_nobody_holds_has_no_dice():
    labels = np.ones((2, *PATCH), np.int16)
    assert dice(labels, labels, patches=2) == {"a": 1.0, "b": None, "c": None}


def test_only_as_many_patches_as_asked_for():
    labels = np.ones((3, *PATCH), np.int16)
    predicted = labels.copy()
    predicted[2] = 2
    assert dice(predicted, labels, patches=2)["a"] == 1.0
    assert dice(predicted, labels, patches=3) == {"a": pytest.approx(0.8), "b": 0.0, "c": None}


def test_recall_is_that_of_the_reference():
    labels = np.array([[0, 1, 1, 1, 1, 2]] * 4, np.int16)[None]
    predicted = np.array([[0, 1, 1, 1, 3, 3]] * 4, np.int16)[None]
    found = scores(predicted, labels, patches=1)
    assert [found[name].recall for name in "abc"] == [0.75, 0.0, None]
    assert [found[name].dice for name in "abc"] == [pytest.approx(6 / 7), 0.0, 0.0]
