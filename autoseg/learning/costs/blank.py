"""Batches without data, in the sizes that a trainer asks for, to count and measure its step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.learning.batch import Batch, SecondView
from autoseg.learning.streams import StreamPlan
from autoseg.learning.trainer import Step
from autoseg.networks.build import output_size
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.channel_layout import channel_layout

Fill = Callable[[tuple[int, ...]], torch.Tensor]
"""Returns a tensor of a shape."""


def blank_batches(
    streams: Mapping[str, StreamPlan],
    configuration: Configuration,
    dataset: Dataset,
    network: nn.Module,
    *,
    images: Fill = torch.empty,
    labels: Fill = lambda shape: torch.zeros(shape, dtype=torch.int64),
) -> dict[str, Batch]:
    """Return one batch of each stream, on the CPU; ``images`` and ``labels`` fill it."""
    channels, patch = channel_layout(configuration, dataset).inputs, configuration.patch_size
    output = output_size(patch, network.margin)  # type: ignore[arg-type]
    axes = len(patch)

    def batch(stream: StreamPlan) -> Batch:
        count = stream.batch_size
        first, *others = ((images((count, channels, *patch)), labels((count, *output))) for _ in range(stream.views))
        between = torch.eye(axes).expand(count, axes, axes)
        return Batch(
            *first,
            tags=torch.zeros(count, len(dataset.tag_names), dtype=torch.int64) if dataset.tags else None,
            sites=torch.zeros(count, dtype=torch.int64) if dataset.sites else None,
            second=SecondView(*others[0], between, (False,) * count) if others else None,
        )

    return {name: batch(stream) for name, stream in streams.items()}


def blank_step(number: int = 0) -> Step:
    """Return a step for counting and measuring."""
    return Step(number, 0.0, np.random.default_rng(number))
