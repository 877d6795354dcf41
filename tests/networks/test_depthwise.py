"""Depthwise convolutions are PyTorch's, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from autoseg.networks.depthwise import CONVOLVE, DEPTHWISE
from autoseg.networks.layers import convolution

SHAPES = [((7, 6, 5), (3, 3, 3)), ((9, 6, 5), (1, 3, 5)), ((5, 5, 6), (5, 5, 5)), ((12, 9), (5, 5)), ((8, 8), (3, 3))]


def made(space, kernel, channels, *, kind=torch.float64):
    generator = torch.Generator().manual_seed(0)
    layer = convolution(len(space), channels, channels, kernel=kernel, groups=channels).to(kind)
    assert isinstance(layer, DEPTHWISE[len(space)])
    return layer, torch.randn(2, channels, *space, generator=generator, dtype=kind, requires_grad=True)


def gradients(result, *of):
    weights = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result).sin().to(result.dtype)
    return torch.autograd.grad((result * weights).sum(), of)


@pytest.mark.parametrize(("space", "kernel"), SHAPES)
@pytest.mark.parametrize("channels", [2, 16, 21, 32])
def test_results_and_gradients_are_those_of_pytorch(space, kernel, channels):
    layer, x = made(space, kernel, channels)
    padding = tuple(k // 2 for k in kernel)
    expected = CONVOLVE[len(space)](x, layer.weight, layer.bias, padding=padding, groups=channels)
    found = layer(x)
    of = (x, layer.weight, layer.bias)
    assert torch.allclose(found, expected)
    for ours, theirs in zip(gradients(found, *of), gradients(expected, *of), strict=True):
        assert ours.shape == theirs.shape and torch.allclose(ours, theirs)


def test_bfloat16_is_as_near_to_the_truth_as_that_of_pytorch():
    layer, x = made((12, 10, 8), (3, 3, 3), 32, kind=torch.float32)
    of = (x, layer.weight, layer.bias)
    truth = gradients(layer(x), *of)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(layer(x).float(), *of)
        theirs = gradients(F.conv3d(x, layer.weight, layer.bias, padding=1, groups=32).float(), *of)
    for found, other, true in zip(ours, theirs, truth, strict=True):
        assert found.dtype == torch.float32
        assert (found - true).norm() <= 1.5 * (other - true).norm() + 1e-3 * true.norm()


def test_kernels_longer_than_the_input_work_in_bfloat16():
    layer, x = made((2, 4, 4), (5, 5, 5), 16, kind=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(layer(x).float(), layer.weight)[0]
    assert torch.allclose(found, gradients(layer(x), layer.weight)[0], rtol=0.02, atol=0.02)


def test_what_needs_no_gradient_gets_none():
    layer, x = made((7, 6, 5), (3, 3, 3), 16)
    layer.weight.requires_grad_(False)
    assert gradients(layer(x.detach()), layer.bias)[0].shape == (16,)
    with torch.no_grad():
        assert not layer(x).requires_grad
