"""How often channels are taken from training samples, so that a network copes with cases that lack them."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.missing import absent_counts
from autoseg.plan import Component, Decision

LEAST_DROPOUT = 0.1
"""A network that never met a missing channel fails without it, even where all training cases are complete."""
MOST_DROPOUT = 0.5
"""Beyond, a channel would be missing more often than not, and what it tells would hardly be learnt."""


@dataclass(frozen=True)
class Dropped:
    """What a plan says of channels that may be missing."""

    augmentation: Component
    """What it adds to an augmentation."""
    decisions: tuple[Decision, ...] = ()


def channel_dropout(dataset: Dataset, fingerprint: Fingerprint) -> Dropped:
    """Take each channel that may be missing away as often as the one that is missing most often in training.

    That often at least a tenth, at most half of the samples; nothing where no channel may be missing.
    """
    if not dataset.missing:
        return Dropped({})
    cases = len(fingerprint.cases)
    counts = absent_counts(dataset, [case.absent for case in fingerprint.cases])
    share = max(counts.values()) / cases
    probability = round(min(max(share, LEAST_DROPOUT), MOST_DROPOUT), 3)
    listed = tuple(
        f"channel '{name}': missing in {count} of {cases} cases, filled with {dataset.missing[name]:g} after "
        "normalization"
        for name, count in counts.items()
    )
    bounds = f"the largest share, {share:.0%}, but from {LEAST_DROPOUT:.0%} to {MOST_DROPOUT:.0%}"
    what = f"channels that may be missing are taken from {probability:.0%} of the training samples, each by itself"
    return Dropped({"channel_dropout": {"probability": probability}}, (Decision("data", what, (*listed, bounds)),))
