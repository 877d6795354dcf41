from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from autoseg.networks.diagonal_gaussian import DiagonalGaussian, standard_normal


def random_pair(seed, samples=3, coordinates=5):
    numbers = torch.randn(4, samples, coordinates, generator=torch.Generator().manual_seed(seed))
    return DiagonalGaussian(numbers[0], numbers[1]), DiagonalGaussian(numbers[2], numbers[3])


def as_torch_has_it(gaussian):
    return Independent(Normal(gaussian.mean, torch.exp(gaussian.log_variance / 2)), 1)


@given(seed=st.integers(0, 2**31))
def test_the_divergence_is_torchs(seed):
    one, other = random_pair(seed)
    expected = kl_divergence(as_torch_has_it(one), as_torch_has_it(other))
    torch.testing.assert_close(one.divergence(other), expected, rtol=1e-4, atol=1e-5)
    assert (one.divergence(other) >= 0).all()
    torch.testing.assert_close(one.divergence(one), torch.zeros(3))


def test_noise_becomes_a_sample_of_the_distribution():
    gaussian = DiagonalGaussian(torch.tensor([[1.0, -2.0]]), torch.log(torch.tensor([[4.0, 0.25]])))
    drawn = gaussian.at(standard_normal(range(4000), 2, torch.device("cpu")))
    torch.testing.assert_close(drawn.mean(0), gaussian.mean[0], atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.tensor([2.0, 0.5]), atol=0.1, rtol=0)
    torch.testing.assert_close(gaussian.at(torch.zeros(2)), gaussian.mean)


@pytest.mark.parametrize("first", [0, 2**63 - 4])
def test_a_seed_decides_its_numbers_whatever_the_others(first):
    together = standard_normal(range(first, first + 3), 4, torch.device("cpu"))
    apart = standard_normal([first + 1], 4, torch.device("cpu"))
    assert torch.equal(together[1:2], apart) and not torch.equal(together[0], together[1])
