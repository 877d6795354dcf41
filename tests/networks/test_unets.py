from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, InstanceNorm


def spec(name="unet", dimension=3, stages=3, **changes):
    extra = {"blocks": 2} if name == "residual_unet" else {"convolutions": 2}
    return {
        "name": name,
        "features": [4 * 2**stage for stage in range(stages)],
        "kernels": [[3] * dimension] * stages,
        "strides": [[1] * dimension] + [[2] * dimension] * (stages - 1),
        **extra,
        **changes,
    }


def build(spec, dimension=3, channels=2, outputs=3):
    return networks.build(spec, in_channels=channels, outputs=outputs, dimension=dimension)


@pytest.mark.parametrize("name", ["unet", "residual_unet"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_logits_at_each_resolution_while_training(name, dimension):
    network = build(spec(name, dimension), dimension)
    images = torch.randn(2, 2, *[16] * dimension)
    assert [tuple(level.shape) for level in network(images)] == [(2, 3, *[n] * dimension) for n in (16, 8)]
    network.eval()
    assert [tuple(level.shape) for level in network(images)] == [(2, 3, *[16] * dimension)]


@given(st.lists(st.tuples(*[st.sampled_from([1, 2])] * 3), min_size=0, max_size=3), st.sampled_from([1, 3, 5]))
@settings(max_examples=15)
def test_any_stages_fit_together(strides, kernel):
    stages = len(strides) + 1
    network = build(spec(stages=stages, strides=[[1, 1, 1], *map(list, strides)], kernels=[[kernel, 3, 3]] * stages))
    shape = tuple(2 * n for n in network.divisor)
    assert network(torch.randn(1, 2, *shape))[0].shape == (1, 3, *shape)


def test_parameters_of_nnunets_hippocampus_network():
    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    network = build(spec(stages=4, features=[32, 64, 128, 256], strides=strides), channels=1)
    # Counted by hand: 27·in·out + out for each convolution, 8·in·out + out for each transposed one, two for each norm.
    pairs = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    pairs += [(256, 128), (128, 128), (128, 64), (64, 64), (64, 32), (32, 32)]
    expected = sum(27 * i * o + 3 * o for i, o in pairs)
    expected += sum(8 * i * o + o for i, o in ((256, 128), (128, 64), (64, 32)))
    expected += sum(3 * f + 3 for f in (128, 64, 32))
    assert sum(p.numel() for p in network.parameters()) == expected


def test_every_parameter_learns():
    for name in ("unet", "residual_unet"):
        network = build(spec(name))
        sum(level.square().mean() for level in network(torch.randn(1, 2, 16, 16, 16))).backward()
        assert all(p.grad is not None for p in network.parameters())


def test_instance_norm_is_pytorchs():
    x = torch.randn(2, 5, 6, 7, 8) * 3 + 1
    reference = nn.InstanceNorm3d(5, affine=True)
    torch.testing.assert_close(InstanceNorm(5)(x), reference(x))


@pytest.mark.parametrize("kernel", [(2, 2), (1, 2), (2, 2, 2), (1, 3, 2)])
def test_upsampling_is_pytorchs_transposed_convolution(kernel):
    ours = TRANSPOSED[len(kernel)](6, 4, kernel, kernel).double()
    theirs = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[len(kernel)](6, 4, kernel, kernel).double()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 6, *(3, 4, 5)[: len(kernel)], dtype=torch.double)
    results, gradients = [], []
    for layer in (ours, theirs):
        x = images.clone().requires_grad_()
        results.append(layer(x))
        results[-1].square().sum().backward()
        gradients.append([x.grad, layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), results[0])


def test_a_step_in_bfloat16_repeats_bit_for_bit():
    def gradients():
        torch.manual_seed(0)
        network = build(spec())
        images = torch.randn(2, 2, 16, 16, 16)
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(level.float().square().mean() for level in network(images))
        loss.backward()
        return [p.grad for p in network.parameters()]

    assert all(torch.equal(*pair) for pair in zip(gradients(), gradients(), strict=True))


def test_normalization_in_bfloat16_keeps_its_type_and_learns_in_float32():
    norm, x = InstanceNorm(5), torch.randn(2, 5, 6, 7, 8).bfloat16()
    normalized = norm(x)
    normalized.float().square().sum().backward()
    assert (normalized.dtype, norm.weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_bfloat16_stays_close():
    torch.manual_seed(0)
    network = build(spec()).eval()
    images = torch.randn(1, 2, 16, 16, 16)
    exact = network(images)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images)[0].float()
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max()


def test_taps_name_hidden_stages():
    network = build(spec())
    assert list(network.taps) == ["encoder_0", "encoder_1", "bottleneck", "decoder_0", "decoder_1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": []}, "field 'features'"),
        ({"kernels": [[3, 3, 3]]}, "field 'kernels': found 1 stages, expected 3"),
        ({"kernels": [[2, 3, 3]] * 3}, "even kernel"),
        ({"strides": [[2, 2, 2]] * 3}, "field 'strides': found"),
        ({"strides": [[1, 1], [2, 2], [2, 2]]}, "expected 3 numbers above 0"),
        ({"convolutions": [2]}, "field 'convolutions'"),
        ({"depth": 3}, "networks 'unet': .*'depth'"),
    ],
)
def test_bad_stages_are_named(changes, message):
    with pytest.raises(PlanError, match=message):
        build(spec(**changes))


@pytest.mark.parametrize(("kernel", "size"), [(3, (2, 4, 4)), (3, (2, 3, 4)), (5, (4, 4, 4)), (5, (2, 3, 4))])
def test_gradients_are_right_where_a_kernel_is_longer_than_its_input(kernel, size):
    """In bfloat16 on a CPU; PyTorch's own convolution returns what lay in memory."""
    for seed in range(8):
        torch.manual_seed(seed)
        layer = CONVOLUTIONS[3](32, 32, kernel, padding=kernel // 2)
        images = torch.randn(2, 32, *size)
        # What the allocator hands out next is not zero.
        leftover = torch.full((200_000,), float("nan"))
        del leftover
        with torch.autocast("cpu", torch.bfloat16):
            layer(images).float().square().mean().backward()
        exact = torch.autograd.grad(layer(images).square().mean(), layer.weight)[0]
        assert torch.allclose(layer.weight.grad, exact, atol=0.02 * float(exact.abs().max()))
