"""A previous stage's label map becomes channels where the network reads it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.inference.sliding_window import TilingSettings, predict_probabilities, with_label_map
from autoseg.preprocessing.previous_stage import label_channels, split_label_map

CPU = torch.device("cpu")


class Copies(nn.Module):
    """Returns the label channels as logits, behind those of a background that is sure where they are zero."""

    divisor = (1, 1, 1)

    def forward(self, x):
        assert x.shape[1] == 1 + 3, "one channel of the image and three labels"
        labels = x[:, 1:]
        return [torch.cat([1 - labels.sum(1, keepdim=True), labels], dim=1) * 50]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_channels_are_one_hot_without_the_background(dtype):
    labels = torch.tensor([[0, 1], [3, 2]], dtype=dtype)[None]
    channels = label_channels(labels, 3)
    assert channels.tolist() == [[[[0, 1], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 0]]]]
    one_hot = nn.functional.one_hot(labels.long(), 4).movedim(-1, 1)[:, 1:]
    assert torch.equal(channels, one_hot.float())


def test_images_without_a_label_map_are_the_very_same():
    images = torch.zeros(1, 2, 3, 3)
    assert split_label_map(images, 0) is images
    image = np.zeros((2, 3, 3, 3), np.float32)
    assert with_label_map(image, None) is image


@pytest.mark.parametrize("patch", [(8, 10, 10), (6, 6, 6), (20, 20, 20), (6, 8)])
def test_tiles_mirrored_or_padded_see_the_labels_of_their_place(patch):
    rng = np.random.default_rng(0)
    image, labels = rng.normal(size=(1, 9, 12, 11)).astype(np.float32), rng.integers(0, 4, (9, 12, 11)).astype(np.int8)
    settings = TilingSettings(patch, 4, tuple(range(len(patch))), previous_labels=3)
    network = Copies()
    network.divisor = (1,) * len(patch)
    read = with_label_map(image, labels)
    assert read.shape == (2, 9, 12, 11) and read.dtype == np.float32 and np.array_equal(read[:1], image)
    probabilities = predict_probabilities([network], read, settings, CPU)
    assert np.array_equal(probabilities.argmax(axis=0), labels)
