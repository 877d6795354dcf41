from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.inference.sliding_window import TilingSettings, predict_probabilities

CPU = torch.device("cpu")


class Echo(nn.Module):
    """Returns its first channel as the logit of class 1, and 0 for class 0."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale
        self.divisor = (1, 1, 1)
        self.batches = []

    def forward(self, x):
        self.batches.append(tuple(x.shape))
        return [torch.cat([torch.zeros_like(x[:, :1]), self.scale * x[:, :1]], dim=1)]


def expected(image, scale=1.0):
    return 1 / (1 + np.exp(-scale * image[0]))


@pytest.mark.parametrize("patch", [(8, 8, 8), (5, 7, 9), (30, 30, 30), (12, 20, 4)])
@pytest.mark.parametrize("mirror", [(), (0, 1, 2)])
def test_whatever_the_tiles_an_echo_comes_back(patch, mirror):
    image = np.random.default_rng(0).normal(size=(2, 12, 15, 10)).astype(np.float32)
    probabilities = predict_probabilities([Echo()], image, TilingSettings(patch, 2, mirror), CPU)
    assert probabilities.shape == (2, 12, 15, 10)
    np.testing.assert_allclose(probabilities[1], expected(image), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_slices_are_images_of_their_own():
    image = np.random.default_rng(0).normal(size=(1, 5, 15, 10)).astype(np.float32)
    network = Echo()
    network.divisor = (1, 1)
    probabilities = predict_probabilities([network], image, TilingSettings((8, 8), 2, (0, 1)), CPU)
    np.testing.assert_allclose(probabilities[1], expected(image), atol=1e-5)
    assert all(len(shape) == 4 for shape in network.batches)


def test_folds_average_their_softmax():
    image = np.random.default_rng(0).normal(size=(1, 6, 6, 6)).astype(np.float32)
    both = predict_probabilities([Echo(1.0), Echo(3.0)], image, TilingSettings((6, 6, 6), 2), CPU)
    np.testing.assert_allclose(both[1], (expected(image, 1.0) + expected(image, 3.0)) / 2, atol=1e-5)


def test_mirrored_copies_are_averaged():
    class Left(nn.Module):
        """Sees class 1 in the first half of the last axis, whatever the image."""

        divisor = (1, 1, 1)

        def forward(self, x):
            logit = torch.full_like(x, -4.0)
            logit[..., : x.shape[-1] // 2] = 4.0
            return [torch.cat([torch.zeros_like(x), logit], dim=1)]

    image = np.zeros((1, 4, 4, 8), np.float32)
    alone = predict_probabilities([Left()], image, TilingSettings((4, 4, 8), 2), CPU)
    mirrored = predict_probabilities([Left()], image, TilingSettings((4, 4, 8), 2, (2,)), CPU)
    assert alone[1, 0, 0, 0] > 0.9
    assert alone[1, 0, 0, -1] < 0.1
    np.testing.assert_allclose(mirrored[1], 0.5, atol=1e-6)
