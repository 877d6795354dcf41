from __future__ import annotations

import pytest
import torch

from autoseg.networks import networks
from autoseg.networks.mednext import mednext_spec
from autoseg.networks.planning import Topology

PAPER = Topology(strides=((1, 1, 1), *[(2, 2, 2)] * 4), kernels=((3, 3, 3),) * 5)


@pytest.mark.parametrize(
    ("size", "kernel", "millions"),
    [
        ("mednext", 3, 5.6),
        ("mednext_b", 3, 10.5),
        ("mednext_m", 3, 17.6),
        ("mednext_l", 3, 61.8),
        ("mednext", 5, 5.9),
        ("mednext_b", 5, 11.0),
        ("mednext_m", 5, 18.3),
        ("mednext_l", 5, 63.0),
    ],
)
def test_parameters_of_the_paper(size, kernel, millions):
    """In 3D for one channel and two classes; neither matters much: the first and the last layer are small."""
    spec = mednext_spec(3, PAPER, 32, size=size, kernel=kernel)
    with torch.device("meta"):
        network = networks.build(spec, in_channels=1, outputs=2, dimension=3)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_logits_of_mednext_at_each_resolution_while_training():
    spec = {"features": [4, 8, 12], "kernels": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [3, 1]]}
    network = networks.build({"name": "mednext", **spec}, in_channels=1, outputs=2, dimension=2)
    images = torch.randn(2, 1, 12, 8)
    assert [tuple(level.shape[2:]) for level in network(images)] == [(12, 8), (6, 4)]
    network.eval()
    assert [tuple(level.shape[2:]) for level in network(images)] == [(12, 8)]


def test_normalization_is_group_normalization_channel_by_channel():
    spec = {"features": [4], "kernels": [[3, 3, 3]], "strides": [[1, 1, 1]]}
    block = networks.build({"name": "mednext", **spec}, in_channels=1, outputs=2, dimension=3).encoder[0][1][0]
    x = torch.randn(2, 4, 5, 6, 7)
    depthwise, norm, *rest = block.branch
    y = torch.nn.functional.group_norm(depthwise(x), 4, norm.weight, norm.bias)
    for layer in rest:
        y = layer(y)
    torch.testing.assert_close(block(x), x + y)
