from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from autoseg.networks import networks
from autoseg.networks.gaussian_smoothing import GaussianSmoothing


def convmixer(dimension=2, **changes):
    return networks.build({"name": "convmixer", **changes}, in_channels=1, outputs=2, dimension=dimension)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("kernel", "count"), [(9, 3_024_374), (7, 2_860_534), (5, 2_737_654), (3, 2_655_734)])
def test_parameters_of_convmixerseg(kernel, count):
    with torch.device("meta"):
        assert parameters(convmixer(kernel=kernel)) == count


def test_neither_residuals_nor_smoothing_have_parameters():
    small = {"features": 8, "depth": 2}
    counts = {
        parameters(convmixer(**small, **more))
        for more in ({}, {"residual_depthwise": False}, {"residual_pointwise": False}, {"smoothing": 7.0})
    }
    assert len(counts) == 1


@pytest.mark.parametrize("size", [504, 511, 512, 513])
def test_logits_are_as_large_as_the_image_where_patches_are_not(size):
    network = convmixer(features=2, depth=1, decoded_features=2).eval()
    assert network(torch.zeros(1, 1, size, 256))[0].shape == (1, 2, size, 256)


@pytest.mark.parametrize("shape", [(40, 30), (20, 24, 30)])
def test_smoothing_is_scipys_inside_and_keeps_a_constant_map(shape):
    layer, sigma = GaussianSmoothing(1.5), 1.5
    image = torch.randn(1, 1, *shape)
    radius = len(layer.weights) // 2
    inside = (slice(radius, -radius),) * len(shape)
    expected = gaussian_filter(image[0, 0].double().numpy(), sigma, radius=radius, mode="constant")
    torch.testing.assert_close(layer(image)[0, 0][inside], torch.from_numpy(expected).float()[inside])
    torch.testing.assert_close(layer(torch.ones(1, 2, *shape)), torch.ones(1, 2, *shape))
    assert layer.weights.sum() == pytest.approx(1.0)


def test_next_to_no_smoothing_returns_the_map():
    image = torch.randn(1, 2, 9, 9)
    torch.testing.assert_close(GaussianSmoothing(1e-3)(image), image)


def test_what_was_padded_has_no_say_in_what_is_smoothed():
    torch.manual_seed(0)
    network = convmixer(features=4, depth=1, smoothing=2.0).eval()
    image = torch.randn(1, 1, 10, 10)
    (smoothed,) = network(image)
    network.smoothing = torch.nn.Identity()
    (plain,) = network(image)
    torch.testing.assert_close(smoothed, GaussianSmoothing(2.0)(plain))
