"""Dropout of optional channels in training, so that a network can predict cases without them."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.data.dataset import Dataset
from autoseg.data.optional_channels import missing_counts
from autoseg.fingerprint.record import Fingerprint
from autoseg.plan.schema import Decision
from autoseg.registry import Component

LEAST_DROPOUT = 0.1
"""Smallest dropout probability, even if all training cases are complete: without dropout, a network fails on cases
without the channel."""
MOST_DROPOUT = 0.5
"""Largest dropout probability: above it, a channel is missing in most samples, and the network hardly learns it."""


@dataclass(frozen=True)
class Dropped:
    """Dropout of optional channels in a plan."""

    augmentation: Component
    """Arguments to add to the augmentation."""
    decisions: tuple[Decision, ...] = ()


def channel_dropout(dataset: Dataset, fingerprint: Fingerprint) -> Dropped:
    """Drop each optional channel with one probability: the largest share of missing cases among the optional channels.

    The probability is at least 0.1 and at most 0.5. Without optional channels, there is no dropout.
    """
    if not dataset.optional_channels:
        return Dropped({})
    cases = len(fingerprint.cases)
    counts = missing_counts(dataset, [case.missing_channels for case in fingerprint.cases])
    share = max(counts.values()) / cases
    probability = round(min(max(share, LEAST_DROPOUT), MOST_DROPOUT), 3)
    listed = tuple(
        f"channel '{name}': missing in {count} of {cases} cases, filled with {dataset.optional_channels[name]:g} after "
        "normalization"
        for name, count in counts.items()
    )
    bounds = f"the largest share of missing cases is {share:.0%}; limits {LEAST_DROPOUT:.0%} to {MOST_DROPOUT:.0%}"
    what = f"training drops each optional channel independently in {probability:.0%} of the samples"
    return Dropped({"channel_dropout": {"probability": probability}}, (Decision("data", what, (*listed, bounds)),))
