"""Build the network of a configuration from the plan and from the channels of the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.input_layers import WithInputLayer, input_layers
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.channel_layout import ChannelLayout, channel_layout
from autoseg.preprocessing.extra import ReadByNetwork, TrainingCases


def build_network(configuration: Configuration, dataset: Dataset) -> nn.Module:
    """Build the network of a configuration, preceded by the layers of computed channels and by the input layer.

    Raises :class:`autoseg.errors.PlanError` for an unknown network, input layer or argument.
    """
    layout = channel_layout(configuration, dataset)
    readers = _channel_layers(layout)
    channels, layer = readers[-1].out_channels if readers else layout.inputs, None
    if configuration.input_layer is not None:
        layer = input_layers.build(configuration.input_layer, in_channels=channels, units=layout.units)
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
    """Build the network of a configuration without memory for weights, to read its attributes."""
    with torch.device("meta"):
        return build_network(configuration, dataset)


def network_margin(configuration: Configuration, dataset: Dataset) -> tuple[int, ...]:
    """Return the number of voxels on each side of a patch for which the network returns no logits."""
    return described_network(configuration, dataset).margin  # type: ignore[return-value]


class PatchError(PlanError):
    """A patch size that a network cannot use: not larger than its margins, or not a multiple of its strides."""


def output_size(patch: Sequence[int], margin: Sequence[int]) -> tuple[int, ...]:
    """Return the size of the logits of a patch, in voxels; raise :class:`PatchError` if nothing remains."""
    size = tuple(n - 2 * m for n, m in zip(patch, margin, strict=True))
    if min(size) < 1:
        raise PatchError(
            f"found {list(patch)}, expected at least {[2 * m + 1 for m in margin]}, the network's receptive field; "
            "use a larger patch or a network with fewer layers"
        )
    return size


def _channel_layers(layout: ChannelLayout) -> list[nn.Module]:
    """Return the layers that replace computed channels, in the order in which they are applied."""
    layers: list[nn.Module] = []
    channels, moved = layout.inputs, 0
    for computed in layout.computed:
        if isinstance(computed.kind, ReadByNetwork):
            layer: nn.Module = computed.kind.layer(channels, computed.place.start + moved)
            layers.append(layer)
            # A layer may change the number of channels, which shifts all channels behind it.
            moved += layer.out_channels - channels  # type: ignore[assignment, operator]
            channels = layer.out_channels  # type: ignore[assignment]
    return layers


def learn_channels(network: nn.Module, layout: ChannelLayout, cases: TrainingCases) -> None:
    """Train the layers of computed channels on the training cases of a fold."""
    kinds = [computed.kind for computed in layout.computed if isinstance(computed.kind, ReadByNetwork)]
    for kind in kinds:
        # Each layer wraps the following ones, see build_network.
        kind.learn(network.layer, cases)
        network = network.network  # type: ignore[assignment]
