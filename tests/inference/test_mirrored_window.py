"""Mirrored copies of images with left and right classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.inference.sliding_window import TilingSettings, predict_probabilities, with_label_map
from autoseg.preprocessing.mirrored_labels import MirroredLabels

CPU = torch.device("cpu")
ORDER = (0, 2, 1, 3)
"""Background, left, right and one organ of no side."""


class Sided(nn.Module):
    """A convolution that treats a mirrored image as the image, but for left and right, which change places."""

    def __init__(self, axes, channels=1, previous=0):
        super().__init__()
        self.divisor = (1,) * axes
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn((4, channels + previous, *[3] * axes), generator=generator)
        order = [*range(channels), *(channels + ORDER[label] - 1 for label in range(1, previous + 1))]
        # The mean over a group of two is unchanged by either of them.
        self.weight = (weight + weight.flip(-1)[list(ORDER)][:, order]) / 2

    def forward(self, x):
        convolve = nn.functional.conv3d if x.ndim == 5 else nn.functional.conv2d
        return [convolve(x, self.weight, padding=1)]


def settings(patch, axes=(2,), mirrored_classes=True, previous=0, activation="softmax"):
    mirrored_labels = MirroredLabels(len(patch) - 1, ORDER, (*ORDER, -1)) if mirrored_classes else None
    return TilingSettings(
        patch, 4, tuple(axes), previous_labels=previous, activation=activation, mirrored_labels=mirrored_labels
    )


def image(channels=1):
    return np.random.default_rng(0).normal(size=(channels, 10, 12, 14)).astype(np.float32)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("patch", [(10, 12, 14), (6, 6, 6), (6, 8)])
def test_where_a_network_knows_left_from_right_mirrored_copies_change_nothing(patch, activation):
    axes, network = (len(patch) - 1,), Sided(len(patch))
    alone = predict_probabilities([network], image(), settings(patch, (), activation=activation), CPU)
    mirrored = predict_probabilities([network], image(), settings(patch, axes, activation=activation), CPU)
    np.testing.assert_allclose(mirrored, alone, atol=1e-5)
    unswapped = predict_probabilities(
        [network], image(), settings(patch, axes, mirrored_classes=False, activation=activation), CPU
    )
    assert np.abs(unswapped - alone).max() > 0.1


@pytest.mark.parametrize("patch", [(10, 12, 14), (6, 8, 6), (8, 8)])
def test_channels_of_a_previous_stage_change_places_as_well(patch):
    labels = np.random.default_rng(1).integers(0, 4, (10, 12, 14))
    staged = with_label_map(image(), labels)
    network, axes = Sided(len(patch), previous=3), (len(patch) - 1,)
    alone = predict_probabilities([network], staged, settings(patch, (), previous=3), CPU)
    mirrored = predict_probabilities([network], staged, settings(patch, axes, previous=3), CPU)
    np.testing.assert_allclose(mirrored, alone, atol=1e-5)
    unswapped = predict_probabilities([network], staged, settings(patch, axes, mirrored_classes=False, previous=3), CPU)
    assert np.abs(unswapped - alone).max() > 0.1


def test_a_mirrored_image_is_predicted_as_the_mirror_image():
    """Whatever the network, averaging over mirrored copies knows no left or right but by the classes' places."""
    network = Sided(3)
    network.weight = torch.randn(network.weight.shape, generator=torch.Generator().manual_seed(1))
    whole = settings((10, 12, 14), (0, 1, 2))
    straight = predict_probabilities([network], image(), whole, CPU)
    mirrored = predict_probabilities([network], np.ascontiguousarray(image()[..., ::-1]), whole, CPU)
    np.testing.assert_allclose(mirrored[list(ORDER), ..., ::-1], straight, atol=1e-5)
    np.testing.assert_allclose(
        predict_probabilities([network], np.ascontiguousarray(image()[:, ::-1]), whole, CPU)[:, ::-1],
        straight,
        atol=1e-5,
    )
