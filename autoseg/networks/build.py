"""The network of a configuration: what a plan says of it, and the channels that the dataset gives it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.input_layers import WithInputLayer, input_layers
from autoseg.networks.prior_map import PriorMapReader, reader_of
from autoseg.plan import Configuration
from autoseg.preprocessing.extra import extra_count, stored_channels
from autoseg.preprocessing.normalization import output_channels, stored_units


def input_channels(configuration: Configuration, dataset: Dataset) -> int:
    """Count the channels that a network reads: those of preprocessed images, and a label each of a previous stage."""
    previous = len(dataset.values) if configuration.previous_stage else 0
    return stored_channels(configuration) + previous


def build_network(configuration: Configuration, dataset: Dataset) -> nn.Module:
    """Build the network that a configuration names, behind the prior maps and the input layer that it has.

    Raises :class:`autoseg.errors.PlanError` for a network, input layer or arguments that do not exist.
    """
    readers = _prior_map_readers(configuration, dataset)
    channels, layer = readers[-1].out_channels if readers else input_channels(configuration, dataset), None
    if configuration.input_layer is not None:
        units = stored_units(configuration.normalization)
        layer = input_layers.build(configuration.input_layer, in_channels=channels, units=units)
    network: nn.Module = networks.build(
        configuration.network,
        in_channels=layer.out_channels if layer else channels,
        outputs=dataset.outputs,
        dimension=configuration.dimension,
    )
    for first in reversed([*readers, *([layer] if layer else [])]):
        network = WithInputLayer(first, network)
    return network


def described_network(configuration: Configuration, dataset: Dataset) -> nn.Module:
    """Build a configuration's network without any weights, to ask it what it declares."""
    with torch.device("meta"):
        return build_network(configuration, dataset)


def network_margin(configuration: Configuration, dataset: Dataset) -> tuple[int, ...]:
    """Return the voxels on each side of a patch for which a configuration's network gives no logits."""
    return described_network(configuration, dataset).margin  # type: ignore[return-value]


class PatchError(PlanError):
    """A patch that a network cannot take: one of which its margin leaves nothing, or that its strides do not divide."""


def output_size(patch: Sequence[int], margin: Sequence[int]) -> tuple[int, ...]:
    """Return the voxels of a patch that a network gives logits of; raise :class:`PatchError` where there are none."""
    size = tuple(n - 2 * m for n, m in zip(patch, margin, strict=True))
    if min(size) < 1:
        raise PatchError(
            f"found {list(patch)}, expected at least {[2 * m + 1 for m in margin]}, the network's receptive field; "
            "take a larger patch or a network of fewer layers"
        )
    return size


def _prior_map_readers(configuration: Configuration, dataset: Dataset) -> list[PriorMapReader]:
    """Return what puts maps in the place of extra channels, in the order in which the network's input passes them."""
    readers: list[PriorMapReader] = []
    channels, place = input_channels(configuration, dataset), output_channels(configuration.normalization)
    for spec in configuration.extra_channels.values():
        reader, count = reader_of(spec, in_channels=channels, channel=place), extra_count({"": spec})
        if reader is not None:
            readers.append(reader)
            # What follows has moved by what the maps are more, or less, than their coordinates.
            count += reader.out_channels - channels
            channels = reader.out_channels
        place += count
    return readers
