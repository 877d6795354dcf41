from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities
from autoseg.losses.dice_cross_entropy import DiceCrossEntropy
from autoseg.networks import networks
from autoseg.networks.diagonal_gaussian import standard_normal
from autoseg.networks.input_layers import WithInputLayer
from autoseg.networks.protocols import hypothesis_of, learning_of


def build(dimension=2, *, channels=1, outputs=2, **arguments):
    torch.manual_seed(0)
    spec = {
        "name": "probabilistic_unet",
        "features": [8, 16],
        "kernels": [[3] * dimension] * 2,
        "strides": [[1] * dimension, [2] * dimension],
        "labels": 1,
        "latent": 2,
    }
    return networks.build(spec | arguments, in_channels=channels, outputs=outputs, dimension=dimension)


def spread_out(network):
    """Give the latent variable a say, which it has little of before training."""
    for encoder in (network.prior, network.posterior):
        torch.nn.init.normal_(encoder.head.weight)
    torch.nn.init.normal_(network.combination.shift.weight, std=3.0)
    return network.eval()


def ambiguous_batch(rng, samples=8):
    """Squares on black: dark ones are of the class, of bright ones every other rater says that they are not."""
    images, labels = torch.zeros(samples, 1, 16, 16), torch.zeros(samples, 16, 16, dtype=torch.int64)
    for image, label in zip(images, labels, strict=True):
        bright, present = rng.random(2) < 0.5
        y, x = rng.integers(1, 7, 2)
        image[0, y : y + 8, x : x + 8] = 2.0 if bright else -2.0
        if present or not bright:
            label[y : y + 8, x : x + 8] = 1
    return images, labels


def trained(steps, **arguments):
    network, rng, loss = build(**arguments), np.random.default_rng(0), DiceCrossEntropy()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(steps):
        images, labels = ambiguous_batch(rng)
        logits, more = network.learn(images, labels, range(8 * step, 8 * step + 8))
        optimizer.zero_grad()
        (loss(logits[0], labels) + more).backward()
        optimizer.step()
    return network.eval()


def square(value):
    return F.pad(torch.full((1, 1, 8, 8), value), (4, 4, 4, 4))


def found_of_square(network, value, count):
    """Return the share of the square that each of some hypotheses takes for the class."""
    with torch.inference_mode():
        maps = [network.hypothesis(np.random.default_rng(k))(square(value))[0].argmax(1) for k in range(count)]
    return [float(found[0, 4:12, 4:12].float().mean()) for found in maps]


@pytest.fixture(scope="module")
def learned():
    return trained(200)


def test_a_hypothesis_tells_the_same_story_in_all_tiles(learned):
    """Three bright squares in a row: tiles that drew for themselves would find some of them and others not."""
    row = torch.cat([square(2.0)] * 3, dim=3)[0].unsqueeze(1).numpy()
    shares = []
    for k in range(16):
        drawn = learned.hypothesis(np.random.default_rng(k))
        labels = predict_probabilities([drawn], row, TilingSettings((16, 16), 2), torch.device("cpu")).argmax(0)[0]
        shares.append([labels[4:12, x : x + 8].mean() for x in (4, 20, 36)])
    assert np.ptp(shares, axis=1).max() < 0.5 < np.ptp(shares)


def test_hypotheses_differ_where_raters_did_and_nowhere_else(learned):
    network = learned
    certain, ambiguous = (found_of_square(network, value, 16) for value in (-2.0, 2.0))
    assert min(certain) > 0.9
    assert sum(share > 0.9 for share in ambiguous) >= 3 and sum(share < 0.1 for share in ambiguous) >= 3


def test_a_posterior_that_may_tell_nothing_is_the_prior():
    images, labels = ambiguous_batch(np.random.default_rng(1))
    free, bound = (
        network.learn(images, labels, range(8))[1].item() / network.beta
        for network in (trained(60, beta=1e-3), trained(60, beta=100.0))
    )
    assert bound < 1e-3 and free > 1


def test_a_map_drawn_from_the_posterior_teaches_it_and_the_divergence_teaches_both():
    network = build()
    images, labels = ambiguous_batch(np.random.default_rng(0))
    logits, more = network.learn(images, labels, range(8))
    DiceCrossEntropy()(logits[0], labels).backward(retain_graph=True)
    assert all(bool(p.grad.any()) for p in network.posterior.head.parameters())
    assert all(p.grad is None for p in network.prior.parameters())
    network.zero_grad()
    more.backward()
    for encoder in (network.prior, network.posterior):
        assert all(bool(p.grad.any()) for p in encoder.head.parameters())
    assert all(p.grad is None or not p.grad.any() for p in network.unet.parameters())


def test_the_latent_variable_is_combined_as_if_laid_out_over_space():
    network = build(3, outputs=3)
    features, latent = torch.randn(2, 8, 2, 3, 4), torch.randn(2, 2)
    combination = network.combination
    first = combination.layers[0]
    weight = torch.cat([first.weight.flatten(1), combination.shift.weight], dim=1)
    everywhere = latent[:, :, None, None, None].expand(-1, -1, 2, 3, 4)
    x = F.conv3d(torch.cat([features, everywhere], dim=1), weight[:, :, None, None, None], first.bias)
    for layer in combination.layers[1:]:
        x = layer(x.relu())
    torch.testing.assert_close(combination(features, latent), x)


@pytest.mark.parametrize("dimension", [2, 3])
def test_learning_depends_on_seeds_alone_and_on_the_target(dimension):
    network = spread_out(build(dimension))
    images = torch.randn(2, 1, *[8] * dimension)
    labels = torch.randint(0, 2, (2, *[8] * dimension))
    logits, more = network.learn(images, labels, [3, 4])
    again, more_again = network.learn(images, labels, [3, 4])
    assert torch.equal(logits[0], again[0]) and torch.equal(more, more_again)
    (other,), _ = network.learn(images, labels, [3, 5])
    torch.testing.assert_close(other[0], logits[0][0])
    assert not torch.allclose(other[1], logits[0][1])
    (other,), _ = network.learn(images, labels * 0, [3, 4])
    assert not torch.allclose(other, logits[0])
    # What is ignored is as background to the posterior.
    (ignored,), _ = network.learn(images, labels * 0 - 1, [3, 4])
    assert torch.equal(ignored, other)


def test_without_noise_a_map_is_that_of_the_mean_and_each_image_has_its_own_prior():
    network = spread_out(build())
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(network(images)[0], network.at_noise(images, torch.zeros(2))[0])
    drawn = network.hypothesis(np.random.default_rng(0))
    together = drawn(images)[0]
    assert not torch.allclose(together, network(images)[0])
    apart = torch.cat([drawn(image[None])[0] for image in images])
    torch.testing.assert_close(together, apart)
    noise = standard_normal([0], 2, torch.device("cpu"))[0]
    torch.testing.assert_close(together, network.at_noise(images, noise)[0])


def test_an_input_layer_learns_with_it_and_has_its_hypotheses():
    network = spread_out(build())
    behind = WithInputLayer(torch.nn.Conv2d(1, 1, 1), network)
    images, labels = ambiguous_batch(np.random.default_rng(0), samples=2)
    learn, hypothesis = learning_of(behind), hypothesis_of(behind)
    logits, more = learn(images, labels, [0, 1])
    expected, more_expected = network.learn(behind.layer(images), labels, [0, 1])
    assert torch.equal(logits[0], expected[0]) and torch.equal(more, more_expected)
    drawn, alone = hypothesis(np.random.default_rng(0)), network.hypothesis(np.random.default_rng(0))
    assert drawn.divisor == (2, 2) and torch.equal(drawn(images)[0], alone(behind.layer(images))[0])
    plain = networks.build({"name": "fcn_resnet50", "features": 4}, in_channels=1, outputs=2, dimension=2)
    ordinary = WithInputLayer(torch.nn.Identity(), plain)
    assert learning_of(ordinary) is None and hypothesis_of(ordinary) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": 0}, "argument 'labels': found 0"),
        ({"latent": 0}, "argument 'latent': found 0"),
        ({"combinations": 0}, "argument 'combinations': found 0"),
        ({"beta": -1.0}, "argument 'beta': found -1.0"),
        ({"kernels": [[2, 2]] * 2}, "'probabilistic_unet', field 'kernels': found an even kernel"),
        ({"deep_supervision": True}, "unexpected keyword argument 'deep_supervision'"),
    ],
)
def test_what_it_cannot_do_is_named(arguments, message):
    with pytest.raises(PlanError, match=message):
        build(**arguments)
