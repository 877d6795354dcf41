"""Channels of a patch that are taken away, as from the cases that lack them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Probability
from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.plan import Component
from autoseg.preprocessing.normalization import channel_places


@dataclass(frozen=True)
class Missable:
    """A channel of the dataset that may be missing."""

    name: str
    number: int
    """Among the dataset's channels."""
    place: tuple[int, int]
    """First and last, exclusive, of the channels that normalization makes of it."""
    fill: float


@dataclass(frozen=True)
class Missables:
    """The channels that may be missing, of ``count`` that a dataset has."""

    channels: tuple[Missable, ...] = ()
    count: int = 0


NONE_MISSABLE = Missables()


@dataclass(frozen=True)
class ChannelDropout:
    """How often each channel that may be missing is taken from a patch; one channel at least always stays.

    A network that learns from complete cases alone fails where a sequence is missing; Kamnitsas et al. 2017
    (unsupervised domain adaptation, section 5.3.2 of the thesis) fill the missing one with a very low value.
    """

    probability: Probability = 0.0
    channels: tuple[str, ...] | None = None
    """Names of those that are taken away; None: all that may be missing."""

    def sample(self, rng: np.random.Generator, missables: Missables, absent: Sequence[int]) -> tuple[int, ...]:
        """Draw the numbers of the channels that a patch is without, those that its case lacks included."""
        allowed = [one.number for one in missables.channels if self.channels is None or one.name in self.channels]
        draws = rng.random(len(allowed)) < self.probability
        gone = {*absent, *(number for number, drawn in zip(allowed, draws, strict=True) if drawn)}
        if gone and len(gone) == missables.count:
            gone.discard(int(rng.choice([number for number in sorted(gone) if number not in absent])))
        return tuple(sorted(gone))


def missables_of(dataset: Dataset, specs: Sequence[Component]) -> Missables:
    """Return the channels of a dataset that may be missing, as the normalizations ``specs`` give them."""
    found = [
        Missable(dataset.channels[number], number, (place.start, place.stop), dataset.fills[number])
        for number, place in enumerate(channel_places(specs))
        if number in dataset.fills
    ]
    return Missables(tuple(found), len(dataset.channels))


def check_dropout(dropout: ChannelDropout, missables: Missables) -> None:
    """Raise :class:`PlanError` for channels that have no fill value to be replaced by."""
    known = [one.name for one in missables.channels]
    unknown = [name for name in dropout.channels or () if name not in known]
    if unknown or (dropout.probability > 0 and not known):
        found = f"'{unknown[0]}'" if unknown else "a probability above 0"
        allowed = f"one of {', '.join(known)}" if known else "none"
        raise PlanError(
            f"augmentation.channel_dropout: found {found}, expected {allowed} of the channels that dataset.json "
            "gives a value in 'missing'; add it there, or leave it out"
        )


def drop(images: torch.Tensor, missables: Missables, gone: Sequence[Sequence[int]]) -> None:
    """Fill channels of images [N,C,*space] in place; ``gone`` has their numbers for each sample."""
    for one in missables.channels:
        for index, numbers in enumerate(gone):
            if one.number in numbers:
                images[index, one.place[0] : one.place[1]] = one.fill
