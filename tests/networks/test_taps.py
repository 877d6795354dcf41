"""Taps of every registered network, and the block that reads them."""

from __future__ import annotations

import logging
from itertools import chain

import pytest
import torch
from torch import nn
from torch.func import functional_call

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.input_layers import WithInputLayer
from autoseg.networks.taps import tap_shapes, taps

CHANNELS, OUTPUTS = 2, 3


def staged(dimension, *, stages=3, **more):
    strides = [[1] * dimension] + [[2] * dimension] * (stages - 1)
    features = [4 * 2**stage for stage in range(stages)]
    return {"features": features, "kernels": [[3] * dimension] * stages, "strides": strides, **more}


TINY = {
    "unet": staged,
    "residual_unet": lambda dimension: staged(dimension, blocks=2),
    "unet_scinets": staged,
    "unet_scinets residual": lambda dimension: staged(dimension, layer="residual", normalization="none"),
    "convmixer": lambda dimension: {"features": 8, "depth": 2, "patch": 3, "kernel": 3, "decoded_features": 4},
    "unet_sum": staged,
    "unet_strided": staged,
    "fcn": staged,
    "fcn residual": lambda dimension: staged(dimension, layer="residual"),
    "fcn_resnet50": lambda dimension: {"features": 4},
    "vnet": staged,
    "mednext": lambda dimension: staged(dimension, blocks=1),
    "probabilistic_unet": lambda dimension: staged(dimension, labels=2),
    "hyperdense": lambda dimension: {"features": [3, 4, 5], "classifier": [6]},
    "deepmedic": lambda dimension: {"features": [3, 4], "factors": [1, 2], "hidden": [5]},
    "deepmedic residual": lambda dimension: TINY["deepmedic"](dimension) | {"residual": [2]},
    "random_forest": lambda dimension: {"features": 4},
}
TAPPED = [key for key in TINY if key != "random_forest"]
DEEPEST = ("bottleneck", "layer_1", "hidden_0")
every_network = pytest.mark.parametrize("key", TAPPED)
both_dimensions = pytest.mark.parametrize("dimension", [2, 3])


def build(key="unet", dimension=2):
    torch.manual_seed(0)
    spec = {"name": key.split()[0], **TINY[key](dimension)}
    return networks.build(spec, in_channels=CHANNELS, outputs=OUTPUTS, dimension=dimension)


def patch_for(network):
    return [n + 2 * margin for n, margin in zip((8, 16, 16)[-len(network.margin) :], network.margin, strict=True)]


def images_for(network, batch=2):
    return torch.randn(batch, CHANNELS, *patch_for(network), generator=torch.Generator().manual_seed(1))


def hooks_of(network):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return [hook for module in network.modules() for kind in kinds for hook in getattr(module, kind)]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="autoseg")
    return caplog


def test_every_network_is_tested_here():
    assert {key.split()[0] for key in TINY} == set(networks.names())


@every_network
@both_dimensions
def test_every_tap_gives_features_of_the_announced_shape(key, dimension):
    network = build(key, dimension)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    announced = tap_shapes(network, CHANNELS, patch_for(network))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with taps(network, list(network.taps)) as features:
        network(images_for(network))
    assert {name: tuple(found.shape) for name, found in features.items()} == {
        name: (2, *shape) for name, shape in announced.items()
    }
    assert len(announced) >= 3 and all(len(shape) == 1 + dimension for shape in announced.values())


@every_network
@both_dimensions
def test_taps_change_no_result_and_leave_nothing(key, dimension):
    network = build(key, dimension).eval()
    images = images_for(network)
    plain = network(images)
    with taps(network, list(network.taps)):
        tapped = network(images)
        assert hooks_of(network)
    assert all(torch.equal(*pair) for pair in zip(plain, tapped, strict=True))
    assert not hooks_of(network)


@every_network
def test_no_later_layer_changes_features(key):
    network, copies = build(key, 3), {}
    with taps(network, list(network.taps)) as features:
        for name, module in network.taps.items():
            module.register_forward_hook(lambda _, __, result, name=name: copies.update({name: result.clone()}))
        network(images_for(network))
    assert all(torch.equal(found, copies[name]) for name, found in features.items())


@every_network
@both_dimensions
def test_a_loss_on_the_deepest_tap_trains_the_layers_before_it(key, dimension):
    network = build(key, dimension)
    deepest = next(name for name in DEEPEST if name in network.taps)
    with taps(network, [deepest]) as features:
        network(images_for(network))
    features[deepest].pow(4).mean().backward()
    first = next(network.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


@both_dimensions
def test_names_are_the_same_in_all_u_nets(dimension):
    shared = ["encoder_0", "encoder_1", "bottleneck", "decoder_0", "decoder_1"]
    for key in ("unet", "residual_unet", "unet_scinets", "unet_sum", "unet_strided", "vnet", "mednext"):
        assert list(build(key, dimension).taps) == shared
    shapes = tap_shapes(build("unet", dimension), CHANNELS, [16] * dimension)
    assert [shape[-1] for shape in shapes.values()] == [16, 8, 4, 16, 8]


def test_a_network_of_one_stage_has_its_bottleneck():
    spec = {"name": "unet", **staged(2, stages=1)}
    assert list(networks.build(spec, in_channels=1, outputs=2, dimension=2).taps) == ["bottleneck"]


def test_features_have_the_precision_of_the_pass():
    network = build("unet", 3)
    with taps(network, ["encoder_1"]) as features, torch.autocast("cpu", torch.bfloat16):
        network(images_for(network))
    assert features["encoder_1"].dtype == torch.bfloat16


def test_channels_last_features_keep_the_order_of_axes(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    network = build("unet", 3)
    with taps(network, ["encoder_1"]) as features:
        network(images_for(network))
    assert features["encoder_1"].shape == (2, 8, 4, 8, 8) and not features["encoder_1"].is_contiguous()


def test_the_last_pass_counts_and_clear_forgets():
    network = build()
    first, second = images_for(network), images_for(network, batch=1)
    with taps(network, ["bottleneck"]) as features:
        network(first)
        network(second)
        assert len(features["bottleneck"]) == 1
        features.clear()
        with pytest.raises(PlanError, match=r"'bottleneck': found no features"):
            features["bottleneck"]
        network(first)
    assert len(features["bottleneck"]) == 2, "features stay after the block"
    network(second)
    assert len(features["bottleneck"]) == 2, "passes after the block change nothing"


def test_hooks_are_removed_after_an_error():
    network = build()
    with pytest.raises(ZeroDivisionError), taps(network, ["bottleneck", "decoder_0"]):
        raise ZeroDivisionError
    assert not hooks_of(network)


def test_blocks_may_be_nested():
    network = build()
    with taps(network, ["bottleneck", "encoder_0"]) as outer:
        with taps(network, ["bottleneck"]) as inner:
            network(images_for(network))
        assert outer["bottleneck"] is inner["bottleneck"]
        network(images_for(network, batch=1))
    assert (len(outer["bottleneck"]), len(inner["bottleneck"])) == (1, 2)
    assert not hooks_of(network)


def test_weights_from_elsewhere_are_tapped():
    network = build()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.named_parameters()}
    with taps(network, ["bottleneck"]) as features:
        functional_call(network, zeros, (images_for(network),))
    assert features["bottleneck"].abs().sum() == 0


def test_wrapped_networks_have_the_taps_of_the_network():
    layer = nn.Conv2d(CHANNELS, CHANNELS, 1)
    network = WithInputLayer(layer, WithInputLayer(nn.Identity(), build()))
    with taps(network, ["bottleneck"]) as features:
        network(images_for(network))
    features["bottleneck"].pow(4).mean().backward()
    assert layer.weight.grad is not None
    with pytest.raises(PlanError, match=r"network 'unet', taps: found 'x'"), taps(network, ["x"]):
        pass


def test_a_drawn_hypothesis_and_a_learning_step_are_tapped():
    import numpy as np

    network = build("probabilistic_unet")
    images = images_for(network)
    hypothesis = network.hypothesis(np.random.default_rng(0))
    with taps(hypothesis, ["bottleneck", "prior_2"]) as features:
        hypothesis(images)
    assert features["prior_2"].shape == features["bottleneck"].shape
    with taps(network, ["prior_0"]) as features:
        network.learn(images, torch.zeros(2, 16, 16, dtype=torch.int64), [0, 1])
    assert features["prior_0"].shape == (2, 4, 16, 16)


NAMES = {
    "an unknown name": (
        "unet",
        ["encoder_0", "decoder_7"],
        r"network 'unet', taps: found 'decoder_7', expected one of: decoder_1, decoder_0, encoder_1, "
        r"encoder_0, bottleneck; choose one of these",
    ),
    "a network without taps": (
        "random_forest",
        ["encoder_0"],
        "network 'random_forest', taps: found 'encoder_0', expected none, because this network has no taps; use",
    ),
    "a text": ("unet", "encoder_0", "taps: found the text 'encoder_0', expected a list of names"),
}


@pytest.mark.parametrize("case", NAMES)
def test_wrong_names_are_explained(case):
    key, names, message = NAMES[case]
    network = build(key)
    with pytest.raises(PlanError, match=message) as error, taps(network, names):
        pass
    assert "\n" not in str(error.value) and not hooks_of(network)


def test_reading_too_early_is_explained():
    with taps(build(), ["bottleneck"]) as features:
        assert list(features) == ["bottleneck"] and "bottleneck" in features and len(features) == 1
        with pytest.raises(PlanError, match=r"tap 'bottleneck': found no features, .*call the network first"):
            features["bottleneck"]
        with pytest.raises(PlanError, match=r"taps: found 'bottle', expected one of: bottleneck"):
            features["bottle"]


class Pair(nn.Module):
    """A network of someone else, whose tap returns two tensors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(4, 4)
        self.taps = {"layer": self.layer}

    def forward(self, x):
        return [self.layer(x)[0]]


def test_a_tap_without_a_tensor_is_explained():
    network = Pair()
    with (
        taps(network, ["layer"]),
        pytest.raises(PlanError, match=r"network 'Pair', tap 'layer': found tuple .*expected a tensor"),
    ):
        network(torch.randn(1, 1, 4))


def test_a_network_that_declares_nothing_has_no_taps():
    assert tap_shapes(nn.Identity(), 1, [4, 4]) == {}
    with pytest.raises(PlanError, match=r"'Identity', taps: found 'x', expected none"), taps(nn.Identity(), ["x"]):
        pass


def compiled_whole(network):
    return torch.compile(network, backend="eager")


def compiled_in_place(network):
    network.compile(backend="eager")
    return network


def compiled_within(network):
    return WithInputLayer(nn.Identity(), compiled_whole(network))


@pytest.mark.parametrize("compiled", [compiled_whole, compiled_in_place, compiled_within])
def test_compiled_networks_give_their_taps_and_the_log_says_how(compiled, said):
    plain, network = build().eval(), compiled(build().eval())
    images = images_for(plain)
    with taps(plain, ["bottleneck"]) as expected:
        plain(images)
    assert not said.messages
    before = network(images)
    for _ in range(2):
        with taps(network, ["bottleneck"]) as features:
            network(images)
        assert torch.equal(features["bottleneck"], expected["bottleneck"])
    assert [message.split(";")[0] for message in said.messages] == [
        "network 'unet': torch.compile is switched off where its taps are read"
    ]
    assert torch.equal(network(images)[0], before[0]) and not hooks_of(network)
    assert tap_shapes(network, CHANNELS, (16, 16)) == tap_shapes(plain, CHANNELS, (16, 16))


def test_a_compiled_network_is_compiled_again_after_the_block():
    calls = []

    def backend(graph, inputs):
        return lambda *arguments: calls.append(1) or graph.forward(*arguments)

    network = torch.compile(build().eval(), backend=backend)
    network(images_for(network))
    assert len(calls) == 1
    with taps(network, ["bottleneck"]):
        network(images_for(network))
    assert len(calls) == 1
    network(images_for(network))
    assert len(calls) == 2


def test_a_compiled_function_around_the_network_is_explained():
    network = build().eval()
    step = torch.compile(lambda images: network(images)[0], backend="eager")
    step(images_for(network))
    with taps(network, ["bottleneck"]) as features:
        step(images_for(network))
        with pytest.raises(PlanError, match=r"not within a function compiled with torch.compile"):
            features["bottleneck"]


def test_networks_that_are_not_compiled_never_touch_the_compiler(monkeypatch, said):
    monkeypatch.setattr(torch.compiler, "set_stance", lambda *_: pytest.fail("the compiler was touched"))
    network = build()
    with taps(network, ["bottleneck"]):
        network(images_for(network))
    assert not said.messages


def test_a_tap_trains_what_the_loss_of_logits_trains():
    """Gradients of a tap add to those of the logits, as if the network returned both."""
    network = build()
    with taps(network, ["bottleneck"]) as features:
        logits = network(images_for(network))
    loss = sum(level.square().mean() for level in logits) + features["bottleneck"].square().mean()
    loss.backward()
    assert all(p.grad is not None for p in chain(network.encoder.parameters(), network.decoder.parameters()))
