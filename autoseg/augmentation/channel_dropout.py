"""Dropout of optional channels, to simulate cases in which they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Probability
from autoseg.errors import PlanError
from autoseg.preprocessing.channel_layout import ChannelLayout


@dataclass(frozen=True)
class ChannelDropout:
    """Drops each optional channel of a patch with ``probability``; at least one channel always stays.

    A network that is trained only on complete cases fails if a sequence is missing. Kamnitsas et al. 2017
    (unsupervised domain adaptation, section 5.3.2 of the thesis) fill the missing sequence with a very low value.
    """

    probability: Probability = 0.0
    channels: tuple[str, ...] | None = None
    """Names of the channels that can be dropped; None: all optional channels."""

    def sample(
        self, rng: np.random.Generator, layout: ChannelLayout, missing_channels: Sequence[int]
    ) -> tuple[int, ...]:
        """Draw the numbers of the channels dropped in a patch; includes the channels missing in its case."""
        allowed = [one.number for one in layout.optional if self.channels is None or one.name in self.channels]
        draws = rng.random(len(allowed)) < self.probability
        dropped = {*missing_channels, *(number for number, drawn in zip(allowed, draws, strict=True) if drawn)}
        if dropped and len(dropped) == layout.files:
            dropped.discard(int(rng.choice([number for number in sorted(dropped) if number not in missing_channels])))
        return tuple(sorted(dropped))


def check_dropout(dropout: ChannelDropout, layout: ChannelLayout) -> None:
    """Raise :class:`PlanError` for channels without a fill value."""
    known = [one.name for one in layout.optional]
    unknown = [name for name in dropout.channels or () if name not in known]
    if unknown or (dropout.probability > 0 and not known):
        found = f"'{unknown[0]}'" if unknown else "a probability above 0"
        allowed = f"one of {', '.join(known)}" if known else "none"
        raise PlanError(
            f"augmentation.channel_dropout: found {found}, expected {allowed} of the channels with a fill "
            "value in 'optional_channels' of dataset.json; add it there, or remove it from the plan"
        )


def drop(images: torch.Tensor, layout: ChannelLayout, dropped: Sequence[Sequence[int]]) -> None:
    """Fill dropped channels of images [N,C,*space] in place; ``dropped``: channel numbers of each sample."""
    for one in layout.optional:
        for index, numbers in enumerate(dropped):
            if one.number in numbers:
                images[index, one.place] = one.fill_value
