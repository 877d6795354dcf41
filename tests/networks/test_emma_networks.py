from __future__ import annotations

import pytest
import torch

from autoseg.networks import networks

STAGES = {"features": [4, 8, 16], "kernels": [[3] * 3] * 3, "strides": [[1] * 3] + [[2] * 3] * 2}


def build(name, *, channels=1, outputs=2, **more):
    return networks.build({"name": name, **STAGES, **more}, in_channels=channels, outputs=outputs, dimension=3)


def kinds(network):
    return {type(module).__name__ for module in network.modules()}


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def unit(inputs, outputs):
    """Count a convolution of kernel 3 with bias, and a scale and a shift for each output."""
    return 27 * inputs * outputs + 3 * outputs


def test_unet_sum_pools_and_adds():
    network = build("unet_sum")
    encoder = [(1, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    decoder = [(8, 8), (8, 8), (4, 4), (4, 4)]
    up = (8 * 16 * 8 + 8) + (8 * 8 * 4 + 4)
    assert parameters(network) == sum(unit(*pair) for pair in encoder + decoder) + up + 4 * 2 + 2
    assert {"MaxPool3d", "BatchNorm3d", "ReLU"} <= kinds(network)


def test_unet_strided_strides_and_concatenates():
    network, summing = build("unet_strided"), build("unet_sum")
    assert "MaxPool3d" not in kinds(network)
    assert network.encoder[1][0][0].stride == (2, 2, 2)
    # The first convolution of each decoder stage reads the skip as well.
    assert parameters(network) - parameters(summing) == 27 * (8 * 8 + 4 * 4)


def test_the_decoder_of_an_fcn_is_linear_in_the_scores_of_its_stages():
    network = build("fcn", outputs=3).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = network(image)[0]
        for score in network.scores:
            score.weight.mul_(2)
            score.bias.mul_(2)
        torch.testing.assert_close(network(image)[0], 2 * before)


def test_each_layer_of_a_residual_fcn_is_a_block_of_two_convolutions():
    assert parameters(build("fcn", layers=2)) == sum(
        unit(*pair) for pair in [(1, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    ) + sum(width * 2 + 2 for width in (4, 8, 16))
    widths = [(1, 4), (4, 8), (8, 16)]
    expected = sum(unit(i, o) + 3 * unit(o, o) + i * o + 3 * o + 2 * o + 2 for i, o in widths)
    assert parameters(build("fcn", layers=2, layer="residual")) == expected


@pytest.mark.parametrize("normalization", ["batch", "instance"])
def test_normalizations_have_as_many_parameters(normalization):
    assert parameters(build("fcn", normalization=normalization)) == parameters(build("fcn"))


def test_resnet50_is_torchvisions():
    with torch.device("meta"):
        network = networks.build({"name": "fcn_resnet50"}, in_channels=3, outputs=21, dimension=2)
    backbone = 25_557_032 - 2048 * 1000 - 1000
    head = 9 * 2048 * 512 + 2 * 512 + 512 * 21 + 21
    assert parameters(network) == backbone + head == 32_957_013


def test_resnet50_works_at_an_eighth_of_the_resolution():
    network = networks.build({"name": "fcn_resnet50", "features": 4}, in_channels=1, outputs=2, dimension=2)
    x = network.stem(torch.zeros(2, 1, 64, 48))
    for stage in network.stages:
        x = stage(x)
    assert x.shape == (2, 4 * 8 * 4, 8, 6)


def test_vnet_is_the_papers():
    spec = {
        "name": "vnet",
        "features": [16, 32, 64, 128, 256],
        "kernels": [[5] * 3] * 5,
        "strides": [[1] * 3] + [[2] * 3] * 4,
    }
    with torch.device("meta"):
        network = networks.build(spec, in_channels=1, outputs=2, dimension=3)
    # A bias and a slope of PReLU for each output of each convolution.
    stages = [(1, 16, 1), *((f, f, n) for f, n in ((32, 2), (64, 3), (128, 3), (256, 3)))]
    stages += [(2 * f, 2 * f, n) for f, n in ((128, 3), (64, 3), (32, 2), (16, 1))]
    expected = sum(125 * i * o * n + 2 * o * n for i, o, n in stages)
    down = [(16, 32), (32, 64), (64, 128), (128, 256)]
    up = [(256, 128), (256, 64), (128, 32), (64, 16)]
    expected += sum(8 * i * o + 2 * o for i, o in down + up) + 32 * 2 + 2
    assert parameters(network) == expected
    assert network.encoder[0](torch.zeros(1, 1, 8, 8, 8, device="meta")).shape == (1, 16, 8, 8, 8)
