"""PReLU is PyTorch's, with its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from autoseg.networks.prelu import PReLU

SHAPES = [(2, 5, 7, 6, 4), (3, 16, 9, 8), (1, 1, 5, 5, 5)]


def made(shape, *, kind=torch.float64):
    generator = torch.Generator().manual_seed(0)
    layer = PReLU(shape[1]).to(kind)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 1.5, shape[1]))
    x = torch.randn(shape, generator=generator, dtype=kind)
    x[:, :, 0] = 0
    return layer, x.requires_grad_()


def gradients(result, *of):
    weights = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result).sin().to(result.dtype)
    return torch.autograd.grad((result * weights).sum(), of)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, None])
def test_results_and_gradients_are_those_of_pytorch(shape, layout):
    layer, x = made(shape)
    last = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    image = x.contiguous(memory_format=layout or last)
    found, expected = layer(image), F.prelu(image, layer.weight)
    assert torch.allclose(found, expected, atol=1e-14)
    of = (x, layer.weight)
    for ours, theirs in zip(gradients(found, *of), gradients(expected, *of), strict=True):
        assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-12)


def test_bfloat16_is_as_near_to_the_truth_as_that_of_pytorch():
    layer, x = made((2, 24, 12, 10, 8), kind=torch.float32)
    of = (x, layer.weight)
    truth = gradients(layer(x), *of)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(layer(x).float(), *of)
        theirs = gradients(F.prelu(x, layer.weight).float(), *of)
    for found, other, true in zip(ours, theirs, truth, strict=True):
        assert found.dtype == torch.float32
        assert (found - true).norm() <= 1.5 * (other - true).norm() + 1e-3 * true.norm()


def test_what_needs_no_gradient_gets_none():
    layer, x = made((2, 5, 7, 6, 4))
    assert gradients(layer(x.detach()), layer.weight)[0].shape == (5,)
    layer.weight.requires_grad_(False)
    assert gradients(layer(x), x)[0].shape == x.shape
    with torch.no_grad():
        assert not layer(x).requires_grad


def test_weights_are_those_of_pytorch():
    assert PReLU(7).state_dict().keys() == torch.nn.PReLU(7).state_dict().keys()
    assert torch.equal(PReLU(7).weight, torch.nn.PReLU(7).weight)
