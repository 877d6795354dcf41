from __future__ import annotations

import pytest
import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.networks import networks


def build(channels=2, outputs=4, **arguments):
    return networks.build({"name": "hyperdense", **arguments}, in_channels=channels, outputs=outputs, dimension=3)


def weights(network):
    """Count what the paper counts: the weights of convolutions, without biases."""
    return sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv3d))


def test_weights_of_the_paper():
    with torch.device("meta"):
        network = build()
    # 10,349,450 for two modalities and four classes where the classifier is given each of 900 features twice.
    assert weights(network) == 10_349_450 - 900 * 400


def test_every_layer_reads_all_layers_before_it_in_all_paths():
    network = build(channels=3, features=[2, 3, 4], classifier=[5])
    read = [
        [module.in_channels for module in path.modules() if isinstance(module, nn.Conv3d)] for path in network.paths
    ]
    assert read == [[1, 3 * 2, 3 * (2 + 3)]] * 3
    assert network.classifier[0][2].in_channels == 3 * (2 + 3 + 4)


def test_paths_read_the_same_features_each_in_its_own_order():
    network = build(channels=2, features=[1, 1], classifier=[1]).eval()
    seen = []
    for path in network.paths:
        path[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.randn(1, 2, 4, 4, 4))
    assert torch.equal(seen[0].flip(1), seen[1]) and not torch.equal(*seen)


def test_channels_share_paths_as_a_plan_says():
    network = build(channels=3, features=[2, 2], classifier=[2], paths=[[0, 2], [1]])
    assert network.channels == [[0, 2], [1]]
    assert network.paths[0][0].in_channels == 2
    # Without a list, labels of a previous stage and whatever there is beyond four channels join the last path.
    assert build(channels=6, features=[2], classifier=[2]).channels == [[0], [1], [2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": [[0], [0]]}, "field 'paths': found .*expected each of the 2 channels"),
        ({"paths": [[0, 1], []]}, "field 'paths'"),
        ({"kernels": [[3, 3, 2]] * 9}, "field 'kernels': found .* 3 odd numbers for each of the 9 layers"),
        ({"features": []}, "field 'features': found none"),
        ({"classifier": [0]}, "argument 'classifier'"),
    ],
)
def test_bad_paths_and_layers_are_named(arguments, message):
    with pytest.raises(PlanError, match=message):
        build(**arguments)
