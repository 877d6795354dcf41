"""The probabilistic U-Net: a U-Net whose map depends on a latent variable as well, for images that are ambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, initialize
from autoseg.networks.diagonal_gaussian import DiagonalGaussian, standard_normal
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.label_channels import label_channels
from autoseg.networks.layers import units
from autoseg.networks.unet import UNet
from autoseg.quantities import NonNegative

Count = Annotated[int, Ge(1)]

MOST_LOG_VARIANCE = 10.0
"""Bound of logarithms of variances, which nothing else keeps from overflowing as the networks begin to learn."""


@networks.register("probabilistic_unet")
class ProbabilisticUNet(nn.Module):
    """A U-Net, and a normal distribution of a latent variable for each image (Kohl et al., NeurIPS 2018).

    A prior network tells the distribution from the image; while the network learns, a posterior network tells it from
    the image and its label map. The last features of the U-Net are combined with one value of the variable by 1×1
    convolutions (``combinations`` of them, the last of which gives the logits): every value is a map that is coherent
    over the patch. ``forward`` takes the mean of the prior.

    The loss is the plan's of a map drawn from the posterior, and ``beta`` times the divergence of the posterior from
    the prior in nats (equation 4). The paper's loss is a sum over voxels where the plan's is a mean: its β of 1 to 10
    is one of thousandths here.

    ``features``, ``kernels``, ``strides`` and ``convolutions`` are those of the U-Net, and of the two other networks,
    which are its encoder without normalization: what it takes away, such as how much of a patch is a class, is what
    the latent variable is about. ``labels``: label values of the dataset beside the background, which the posterior
    network reads; ignored voxels, and classes that were not annotated, are background to it.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        labels: Count,
        convolutions: int | Sequence[int] = 2,
        decoder_convolutions: int | Sequence[int] = 2,
        latent: Count = 6,
        combinations: Count = 3,
        beta: NonNegative = 0.01,
    ) -> None:
        super().__init__()
        check_stages("probabilistic_unet", dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage("probabilistic_unet", "convolutions", convolutions, len(features))
        self.unet = UNet(
            in_channels=in_channels,
            outputs=outputs,
            dimension=dimension,
            features=features,
            kernels=kernels,
            strides=strides,
            convolutions=counts,
            decoder_convolutions=decoder_convolutions,
            deep_supervision=False,
        )
        # The combination stands in the place of the U-Net's head.
        self.unet.heads = nn.ModuleList([nn.Identity()])
        self.combination = _Combination(dimension, features[0], latent, outputs, combinations)

        def encoder(channels: int) -> _GaussianEncoder:
            widths = [channels, *features]
            stages = [
                units(
                    dimension,
                    widths[stage],
                    widths[stage + 1],
                    kernel=kernels[stage],
                    stride=strides[stage],
                    count=counts[stage],
                    normalization="none",
                )
                for stage in range(len(features))
            ]
            return _GaussianEncoder(stages, features[-1], latent)

        self.prior, self.posterior = encoder(in_channels), encoder(in_channels + labels)
        self.divisor, self.margin = self.unet.divisor, self.unet.margin
        self.labels, self.latent, self.beta = labels, latent, beta

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages that losses may read, by name."""
        return self.unet.taps

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits [B,outputs,*patch] of images [B,C,*patch] at the mean of the prior, in a list of one."""
        return self._logits(images, self.prior(images).mean)

    def learn(
        self, images: torch.Tensor, labels: torch.Tensor, seeds: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return logits of a map drawn from the posterior, and β times the divergence; see :mod:`.own_ways`."""
        posterior = self.posterior(torch.cat([images, label_channels(labels, self.labels)], dim=1))
        drawn = posterior.at(standard_normal(seeds, self.latent, images.device))
        return self._logits(images, drawn), self.beta * posterior.divergence(self.prior(images)).mean()

    def hypothesis(self, rng: np.random.Generator) -> nn.Module:
        """Return the network of one map: the same noise for all patches, each turned by its own prior."""
        return _Drawn(self, torch.from_numpy(rng.standard_normal(self.latent, dtype=np.float32)))

    def at_noise(self, images: torch.Tensor, noise: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits of images [B,C,*patch] at what ``noise`` [latent] is in the prior of each."""
        return self._logits(images, self.prior(images).at(noise.to(images.device)))

    def _logits(self, images: torch.Tensor, latent: torch.Tensor) -> list[torch.Tensor]:
        return [self.combination(self.unet(images)[0], latent)]


class _GaussianEncoder(nn.Module):
    """Stages of an encoder, the mean over space of the last of them, and a distribution of the latent variable."""

    def __init__(self, stages: Sequence[nn.Module], features: int, latent: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(features, 2 * latent)
        self.apply(initialize)
        # Both distributions begin near the standard normal one, and thereby near each other.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> DiagonalGaussian:
        features = self.stages(x).flatten(2).mean(dim=2, dtype=torch.float32)
        # Written out, since autocast would make a matrix product of 16 bits, too few for the divergence.
        told = (features[:, None] * self.head.weight).sum(dim=2) + self.head.bias
        mean, raw = told.chunk(2, dim=1)
        return DiagonalGaussian(mean, MOST_LOG_VARIANCE * torch.tanh(raw / MOST_LOG_VARIANCE))


class _Combination(nn.Module):
    """1×1 convolutions of features beside a latent variable that is the same everywhere.

    The first of them is the sum of a convolution of the features and a product with the variable: the paper's, which
    lays the variable out over all of space, without the memory for that.
    """

    def __init__(self, dimension: int, features: int, latent: int, outputs: int, count: int) -> None:
        super().__init__()
        widths = [features] * count + [outputs]
        self.shift = nn.Linear(latent, widths[1], bias=False)
        self.layers = nn.ModuleList(CONVOLUTIONS[dimension](inputs, width, 1) for inputs, width in pairwise(widths))
        self.apply(initialize)

    def forward(self, features: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        first, *others = self.layers
        x = first(features)
        shift = self.shift(latent).to(x.dtype)
        x = x + shift.reshape(*shift.shape, *[1] * (x.ndim - 2))
        for layer in others:
            x = layer(F.relu(x))
        return x


class _Drawn(nn.Module):
    """A probabilistic U-Net at given noise."""

    def __init__(self, network: ProbabilisticUNet, noise: torch.Tensor) -> None:
        super().__init__()
        self.network, self.noise = network, noise
        self.divisor, self.margin = network.divisor, network.margin

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.network.at_noise(images, self.noise)
