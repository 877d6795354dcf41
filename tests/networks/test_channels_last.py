from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autoseg.networks import kernel_gradient, networks
from autoseg.networks.blocks import CONVOLUTIONS, EPSILON, SLOPE, TRANSPOSED, ConvNorm, InstanceNorm
from autoseg.networks.channels_last import (
    is_channels_last,
    mixed,
    normalized,
    prefers_channels_last,
    to_channels_last,
    upsampled,
)

SHAPE = (2, 5, 3, 4, 2)


def features(shape=SHAPE, dtype=torch.double):
    torch.manual_seed(0)
    return to_channels_last(torch.randn(shape, dtype=dtype))


def set_capability(monkeypatch, name):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: name)


@pytest.mark.parametrize("slope", [SLOPE, 1.0])
def test_gradients_of_the_normalization_are_right(slope):
    weight, bias = (torch.rand(5, dtype=torch.double) + 0.5 for _ in range(2))
    inputs = [tensor.requires_grad_() for tensor in (features(), weight, bias)]
    assert torch.autograd.gradcheck(lambda x, w, b: normalized(x, w, b, slope), inputs)


@pytest.mark.parametrize("slope", [SLOPE, 1.0])
@pytest.mark.parametrize("space", [(3, 4, 2), (5, 1, 1), (1, 7, 9)])
def test_normalization_is_pytorchs(slope, space):
    results = []
    for own in (True, False):
        torch.manual_seed(0)
        x = features((3, 6, *space), torch.float32).mul_(3).add_(1).requires_grad_()
        weight, bias = torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)
        if own:
            result = normalized(x, weight, bias, slope)
        else:
            result = F.leaky_relu(F.group_norm(x, 6, weight, bias, EPSILON), slope)
        outer = torch.randn(result.shape)
        results.append([result, *torch.autograd.grad(result, (x, weight, bias), outer)])
    torch.testing.assert_close(*results)


def test_normalization_keeps_the_layout_and_leaves_what_it_is_given():
    x, norm = features(dtype=torch.float32).requires_grad_(), InstanceNorm(5)
    result = norm(x, SLOPE)
    outer = torch.randn(result.shape)
    given = outer.clone()
    (gradient,) = torch.autograd.grad(result, x, outer)
    assert is_channels_last(result) and is_channels_last(gradient)
    assert torch.equal(outer, given)
    with torch.no_grad():
        torch.testing.assert_close(norm(x, SLOPE), result)


def test_a_single_channel_gets_strides_of_its_own():
    x = torch.randn(2, 1, 4, 5, 6)
    assert torch.equal(to_channels_last(x), x)
    convolution = nn.Conv3d(1, 4, 3)
    assert is_channels_last(convolution(to_channels_last(x)))


@pytest.mark.parametrize("kernel", [(2, 2, 2), (1, 3, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_upsampling_is_pytorchs_transposed_convolution(kernel, bias):
    layer = TRANSPOSED[3](5, 4, kernel, kernel, bias=bias).double()
    x = features().requires_grad_()
    ours, theirs = upsampled(x, layer), F.conv_transpose3d(x, layer.weight, layer.bias, kernel)
    assert is_channels_last(ours)
    assert_same(ours, theirs, [x, *layer.parameters()])


def test_a_head_is_pytorchs_convolution():
    layer = CONVOLUTIONS[3](5, 3, 1).double()
    x = features().requires_grad_()
    assert_same(mixed(x, layer), F.conv3d(x, layer.weight, layer.bias), [x, *layer.parameters()])


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 1, 5), (1, 1, 3)])
@pytest.mark.parametrize("size", [(4, 5, 6), (1, 2, 3), (9, 4, 4)])
@pytest.mark.parametrize("threads", [1, 3])
def test_gradients_of_kernels_are_pytorchs(kernel, size, threads, monkeypatch):
    # Blocks of a few planes, so that images have several.
    monkeypatch.setattr(kernel_gradient, "BLOCK_BYTES", 6000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    padding = tuple(k // 2 for k in kernel)
    layer = CONVOLUTIONS[3](3, 4, kernel, padding=padding).double()
    x = features((2, 3, *size)).requires_grad_()
    ours = kernel_gradient.convolved(x, layer)
    assert_same(ours, F.conv3d(x, layer.weight, layer.bias, padding=padding), [x, *layer.parameters()])


def test_the_operations_are_well_formed():
    x = features(dtype=torch.float32)
    statistics = torch.randn(2, 5), torch.rand(2, 5) + 0.5
    saved = [x, torch.rand(5), *statistics]
    torch.library.opcheck(torch.ops.autoseg.normalized_backward, (x.clone(), [*saved, x.clone()], SLOPE))
    torch.library.opcheck(torch.ops.autoseg.normalized_backward, (x.clone(), saved, 1.0))
    torch.library.opcheck(torch.ops.autoseg.kernel_gradient, (x.clone(), x, [3, 3, 3]))


@pytest.mark.parametrize("name", ["unet", "residual_unet"])
def test_networks_compute_the_same_in_both_layouts(name, monkeypatch):
    monkeypatch.setattr(kernel_gradient, "MOST_PADDED", 10.0)
    monkeypatch.setattr(kernel_gradient, "FEWEST_FEATURES", 1)
    results = {}
    for capability in ("DEFAULT", "AVX2"):
        set_capability(monkeypatch, capability)
        results[capability] = logits_and_gradients(name)
    torch.testing.assert_close(results["AVX2"], results["DEFAULT"], rtol=1e-3, atol=1e-4)


def test_every_hidden_stage_of_a_unet_lies_channels_last(monkeypatch):
    set_capability(monkeypatch, "AVX2")
    network = small("unet")
    seen = {}
    for name, module in network.named_modules():
        if isinstance(module, ConvNorm | TRANSPOSED[3]):
            module.register_forward_hook(lambda _, __, result, name=name: seen.update({name: is_channels_last(result)}))
    network(torch.randn(2, 1, 8, 8, 8))
    assert seen and all(seen.values())


def test_the_layout_follows_the_kind_of_processor(monkeypatch):
    images, slices = torch.randn(1, 16, 4, 4, 4), torch.randn(1, 16, 4, 4)
    for capability, expected in {"DEFAULT": False, "AVX2": True, "AVX512": True}.items():
        set_capability(monkeypatch, capability)
        assert prefers_channels_last(images, 16) == expected
        assert not prefers_channels_last(slices, 16)
        assert not prefers_channels_last(images.double(), 16)
        assert not prefers_channels_last(images.to("meta"), 16)


@pytest.mark.parametrize("tiles", [True, False])
def test_in_bfloat16_the_layout_follows_the_processors_tiles(tiles, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": tiles})
    images = torch.randn(1, 16, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert prefers_channels_last(images, 32) == tiles
        assert not prefers_channels_last(images, 8)


def test_other_processors_have_pytorchs_gradient_of_kernels(monkeypatch):
    layer, x = CONVOLUTIONS[3](16, 16, 3, padding=1), features((1, 16, 20, 28, 20), torch.float32)
    for capability, expected in {"DEFAULT": False, "AVX2": True, "AVX512": False}.items():
        set_capability(monkeypatch, capability)
        assert kernel_gradient.has_own_gradient(layer, x) == expected
    set_capability(monkeypatch, "AVX2")
    assert not kernel_gradient.has_own_gradient(layer, x.contiguous())
    assert not kernel_gradient.has_own_gradient(layer, x[:, :, :4])
    assert not kernel_gradient.has_own_gradient(CONVOLUTIONS[3](16, 16, 3, 2, 1), x)
    assert not kernel_gradient.has_own_gradient(CONVOLUTIONS[3](16, 8, 3, padding=1), x)
    with torch.no_grad():
        assert not kernel_gradient.has_own_gradient(layer, x)


def small(name):
    torch.manual_seed(0)
    more = {"blocks": 1} if name == "residual_unet" else {}
    strides = [[1] * 3, [2] * 3, [1, 2, 2]]
    spec = {"name": name, "features": [4, 8, 12], "kernels": [[3] * 3] * 3, "strides": strides, **more}
    return networks.build(spec, in_channels=1, outputs=3, dimension=3)


def logits_and_gradients(name):
    network, images = small(name), torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    levels = network(images)
    sum(level.square().mean() for level in levels).backward()
    with torch.no_grad():
        plain = network(images)[0]
    return [*(level.detach() for level in levels), plain, *(parameter.grad for parameter in network.parameters())]


def assert_same(ours, theirs, inputs):
    outer = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(result, inputs, outer) for result in (ours, theirs)]
    torch.testing.assert_close(*gradients)
