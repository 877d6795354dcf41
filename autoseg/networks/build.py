"""The network of a configuration: what a plan says of it, and the channels that the dataset gives it."""

from __future__ import annotations

from torch import nn

from autoseg.dataset import Dataset
from autoseg.networks import networks
from autoseg.plan import Configuration


def input_channels(configuration: Configuration, dataset: Dataset) -> int:
    """Count the channels that a network reads: those of the image, and one for each label of a previous stage."""
    previous = len(dataset.values) if configuration.previous_stage else 0
    return len(configuration.normalization) + previous


def build_network(configuration: Configuration, dataset: Dataset) -> nn.Module:
    """Build the network that a configuration names.

    Raises :class:`autoseg.errors.PlanError` for a network or arguments that do not exist.
    """
    network: nn.Module = networks.build(
        configuration.network,
        in_channels=input_channels(configuration, dataset),
        outputs=dataset.outputs,
        dimension=configuration.dimension,
    )
    return network
