"""The channels of a network's input and their order; the only module that defines them."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoseg.data.dataset import Dataset
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.extra import ExtraChannel, extra_channels
from autoseg.preprocessing.normalization import normalized_channels, stored_units


@dataclass(frozen=True)
class OptionalChannel:
    """An optional channel of the dataset: a case can be without it."""

    name: str
    number: int
    """Index among the dataset's channels."""
    place: slice
    """The input channels that normalization makes from it."""
    fill_value: float


@dataclass(frozen=True)
class ComputedChannel:
    """One or several input channels that one extra channel computes."""

    name: str
    place: slice
    kind: ExtraChannel


@dataclass(frozen=True)
class ChannelLayout:
    """The channels of a network's input, in order: image channels, computed channels, labels of a previous stage."""

    image: int
    """Number of channels that normalization makes from the channels of the files; they come first."""
    files: int = 1
    """Number of channels of the dataset."""
    computed: tuple[ComputedChannel, ...] = ()
    previous_labels: int = 0
    """Number of labels of a previous stage; each has one channel, and these channels come last."""
    optional: tuple[OptionalChannel, ...] = ()
    units: tuple[tuple[float, float] | None, ...] = field(default=(), compare=False)
    """(offset, scale) of each channel of the image, see :func:`autoseg.preprocessing.normalization.stored_units`."""

    @property
    def stored(self) -> int:
        """Number of channels of a preprocessed image."""
        return self.computed[-1].place.stop if self.computed else self.image

    @property
    def computed_count(self) -> int:
        """Number of computed channels."""
        return self.stored - self.image

    @property
    def inputs(self) -> int:
        """Number of channels that a network reads."""
        return self.stored + self.previous_labels

    @property
    def fill_values(self) -> tuple[tuple[int, float], ...]:
        """Pairs (channel of a preprocessed image, fill value) for all optional channels."""
        return tuple(
            (channel, one.fill_value) for one in self.optional for channel in range(one.place.start, one.place.stop)
        )

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """Return the channels that change sign if the body is mirrored along an axis of the plan."""
        return tuple(
            one.place.start + channel for one in self.computed for channel in one.kind.mirrored(axis, transpose)
        )


def channel_layout(configuration: Configuration, dataset: Dataset) -> ChannelLayout:
    """Return the channel layout of a configuration; raise :class:`PlanError` if a component cannot be built."""
    places = normalized_channels(configuration.normalization)
    image = places[-1].stop if places else 0
    computed, first = [], image
    for name, spec in configuration.extra_channels.items():
        kind: ExtraChannel = extra_channels.build(spec)
        computed.append(ComputedChannel(name, slice(first, first + kind.channels), kind))
        first += kind.channels
    return ChannelLayout(
        image=image,
        files=len(dataset.channels),
        computed=tuple(computed),
        previous_labels=len(dataset.values) if configuration.previous_stage else 0,
        optional=tuple(
            OptionalChannel(dataset.channels[number], number, place, dataset.fill_values[number])
            for number, place in enumerate(places)
            if number in dataset.fill_values
        ),
        units=tuple(stored_units(configuration.normalization)),
    )
