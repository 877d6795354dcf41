from __future__ import annotations

import pytest
import torch

from autoseg.networks import networks


def scinets(channels=2, **changes):
    spec = {
        "name": "unet_scinets",
        "features": [64, 128, 256, 512, 1024],
        "kernels": [[3, 3]] * 5,
        "strides": [[1, 1]] + [[2, 2]] * 4,
    }
    with torch.device("meta"):
        return networks.build(spec | changes, in_channels=channels, outputs=1, dimension=2)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_parameters_of_the_thesis():
    assert parameters(scinets()) == 34_526_977


def test_normalization_follows_the_activation():
    kinds = [type(layer).__name__ for layer in scinets().encoder[0][0]]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert scinets().heads[0].kernel_size == (3, 3)


def test_a_normalized_shortcut_has_a_scale_and_a_shift_for_each_channel():
    normalized, raw = scinets(layer="residual"), scinets(layer="residual", shortcut_norm=False)
    # Where features change: the first layer of each of five stages of the encoder, and all but the last of a decoder's.
    widths = [64, 128, 256, 512, 1024] + 2 * [512, 256, 128, 64]
    assert parameters(normalized) - parameters(raw) == 2 * sum(widths)


@pytest.mark.parametrize("kernel", [1, 5, 7])
def test_any_odd_kernel(kernel):
    spec = {"name": "unet_scinets", "features": [4, 8], "kernels": [[kernel] * 2] * 2, "strides": [[1, 1], [2, 3]]}
    network = networks.build(spec, in_channels=1, outputs=2, dimension=2)
    assert network(torch.randn(2, 1, 13, 17))[0].shape == (2, 2, 13, 17)
