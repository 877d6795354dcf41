"""The probabilistic U-Net: a U-Net with a latent variable, for ambiguous images."""

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
from autoseg.networks.layers import units
from autoseg.networks.unet import UNet
from autoseg.preprocessing.previous_stage import label_channels
from autoseg.registry import NonNegative

Count = Annotated[int, Ge(1)]

MOST_LOG_VARIANCE = 10.0
"""Bound of the log variances; without it, they can overflow at the start of training."""


@networks.register("probabilistic_unet")
class ProbabilisticUNet(nn.Module):
    """A U-Net and, for each image, a normal distribution of a latent variable (Kohl et al., NeurIPS 2018).

    A prior network predicts the distribution from the image. During training, a posterior network predicts it from the
    image and its label map. Then ``combinations`` 1×1 convolutions combine the last features of the U-Net with one
    value of the latent variable; the last convolution returns the logits. Each value gives a segmentation that is
    consistent over the whole patch. ``forward`` uses the mean of the prior.

    The training loss is the loss of the plan for a segmentation drawn from the posterior, plus ``beta`` times the
    Kullback–Leibler divergence of the posterior from the prior in nats (equation 4). The loss of the paper is a sum
    over voxels, that of the plan is a mean. Therefore the paper's β of 1 to 10 corresponds to thousandths here.

    ``features``, ``kernels``, ``strides`` and ``convolutions`` are those of the U-Net, the prior network and the
    posterior network. The last two are encoders without normalization, because normalization removes information that
    the latent variable needs, such as the share of a class in the patch. ``labels`` is the number of label values of
    the dataset without the background, which the posterior network reads. Ignored voxels and classes that are not
    annotated count as background there.
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
        # The combination replaces the head of the U-Net.
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
        """Hidden stages by name: those of the U-Net, and those of the prior network, finest first."""
        return self.unet.taps | {f"prior_{level}": stage for level, stage in enumerate(self.prior.stages)}

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits [B,outputs,*patch], in a list of one, of images [B,C,*patch] at the mean of the prior."""
        return self._logits(images, self.prior(images).mean)

    def learn(
        self, images: torch.Tensor, labels: torch.Tensor, seeds: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return logits of a map drawn from the posterior, and β times the divergence; see :mod:`.protocols`."""
        posterior = self.posterior(torch.cat([images, label_channels(labels, self.labels)], dim=1))
        drawn = posterior.at(standard_normal(seeds, self.latent, images.device))
        return self._logits(images, drawn), self.beta * posterior.divergence(self.prior(images)).mean()

    def hypothesis(self, rng: np.random.Generator) -> nn.Module:
        """Return the network of one hypothesis: all patches use the same noise, each with its own prior."""
        return _Drawn(self, torch.from_numpy(rng.standard_normal(self.latent, dtype=np.float32)))

    def at_noise(self, images: torch.Tensor, noise: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits of images [B,C,*patch], with ``noise`` [latent] transformed by the prior of each image."""
        return self._logits(images, self.prior(images).at(noise.to(images.device)))

    def _logits(self, images: torch.Tensor, latent: torch.Tensor) -> list[torch.Tensor]:
        return [self.combination(self.unet(images)[0], latent)]


class _GaussianEncoder(nn.Module):
    """An encoder: stages, global average pooling, and a linear layer that predicts the latent distribution."""

    def __init__(self, stages: Sequence[nn.Module], features: int, latent: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(features, 2 * latent)
        self.apply(initialize)
        # At the start of training, both distributions are close to standard normal and thus to each other.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> DiagonalGaussian:
        features = self.stages(x).flatten(2).mean(dim=2, dtype=torch.float32)
        # Not a matrix product: autocast would compute it in 16 bits, which is not enough for the divergence.
        told = (features[:, None] * self.head.weight).sum(dim=2) + self.head.bias
        mean, raw = told.chunk(2, dim=1)
        return DiagonalGaussian(mean, MOST_LOG_VARIANCE * torch.tanh(raw / MOST_LOG_VARIANCE))


class _Combination(nn.Module):
    """1×1 convolutions of features and a latent variable, which is the same for all voxels.

    The paper repeats the latent variable over all voxels and concatenates it to the features. Here the first layer is
    the sum of a convolution of the features and a matrix product with the variable. The result is equal and needs less
    memory.
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
    """A probabilistic U-Net with fixed noise."""

    def __init__(self, network: ProbabilisticUNet, noise: torch.Tensor) -> None:
        super().__init__()
        self.network, self.noise = network, noise
        self.divisor, self.margin = network.divisor, network.margin

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages of the network."""
        return self.network.taps

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.network.at_noise(images, self.noise)
