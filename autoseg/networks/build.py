"""The network of a configuration: what a plan says of it, and the channels that the dataset gives it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.input_layers import WithInputLayer, input_layers
from autoseg.plan import Configuration
from autoseg.preprocessing.normalization import output_channels, stored_units


def input_channels(configuration: Configuration, dataset: Dataset) -> int:
    """Count the channels that a network reads: those of the image, and one for each label of a previous stage."""
    previous = len(dataset.values) if configuration.previous_stage else 0
    return output_channels(configuration.normalization) + previous


def build_network(configuration: Configuration, dataset: Dataset) -> nn.Module:
    """Build the network that a configuration names, behind its input layer where it has one.

    Raises :class:`autoseg.errors.PlanError` for a network, input layer or arguments that do not exist.
    """
    channels, layer = input_channels(configuration, dataset), None
    if configuration.input_layer is not None:
        units = stored_units(configuration.normalization)
        layer = input_layers.build(configuration.input_layer, in_channels=channels, units=units)
    network: nn.Module = networks.build(
        configuration.network,
        in_channels=layer.out_channels if layer else channels,
        outputs=dataset.outputs,
        dimension=configuration.dimension,
    )
    return WithInputLayer(layer, network) if layer else network


def network_margin(configuration: Configuration, dataset: Dataset) -> tuple[int, ...]:
    """Return the voxels on each side of a patch for which a configuration's network gives no logits."""
    with torch.device("meta"):
        network = build_network(configuration, dataset)
    return network.margin  # type: ignore[return-value]


class PatchError(PlanError):
    """A patch of which a network's margin leaves nothing."""


def output_size(patch: Sequence[int], margin: Sequence[int]) -> tuple[int, ...]:
    """Return the voxels of a patch that a network gives logits of; raise :class:`PatchError` where there are none."""
    size = tuple(n - 2 * m for n, m in zip(patch, margin, strict=True))
    if min(size) < 1:
        raise PatchError(
            f"found {list(patch)}, expected at least {[2 * m + 1 for m in margin]}, the network's receptive field; "
            "take a larger patch or a network of fewer layers"
        )
    return size
