"""How much memory a case takes from its reading to its writing, told from its header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.geometry import Geometry
from autoseg.inference.members import Member
from autoseg.inference.sliding_window import share_of_logits, share_of_padded
from autoseg.memory import available_memory
from autoseg.plan import Plan
from autoseg.preprocessing.case import Steps, steps_of
from autoseg.preprocessing.crop import Box
from autoseg.preprocessing.normalization import output_channels

SHARE_FOR_CASES = 0.7
"""Share of the free memory that cases may take: activations of networks, libraries and other programs need some."""
FLOAT = 4
"""Bytes of float32."""
READING = 2 * FLOAT
"""Bytes of a voxel while one channel is read: as the file has it, and converted."""
WRITING = 24
"""Bytes of a voxel while labels are made and post-processed: two classes' scores, masks, components, label maps."""

MEASURING = 5 * FLOAT
"""Bytes of a voxel while uncertainty is measured: entropy, disagreement and a class' terms of them."""


@dataclass(frozen=True)
class CaseNeed:
    """Bytes that a case takes, at most."""

    arrays: int
    """Images, label maps and the logits in the making."""
    scores: int
    """Probabilities, which may lie in files instead: of each grid one mean, and those that are being added to it."""

    @property
    def total(self) -> int:
        """Where everything is in memory."""
        return self.arrays + self.scores


def memory_for_cases(memory: int | None = None) -> int:
    """Return the bytes that cases in flight may take: ``memory``, or a share of what this process may still take."""
    return memory or int(available_memory() * SHARE_FOR_CASES)


def case_need(
    geometry: Geometry, plan: Plan, stages: Sequence[Member], *, channels: int, votes: bool = False
) -> CaseNeed:
    """Estimate what a case takes that each of ``stages`` predicts; ``votes`` are kept for its uncertainty.

    Nothing is known of the crop, so that the whole image counts.
    """
    voxels = math.prod(geometry.size)
    prepared = working = counted = 0
    kept: dict[Steps, int] = {}
    added = 0
    for stage in stages:
        steps = steps_of(geometry, Box((0, 0, 0), geometry.size), plan, stage.configuration)
        shape = steps.shape
        image = FLOAT * math.prod(shape) * output_channels(stage.configuration.normalization)
        share = FLOAT * math.prod(shape) * stage.window.outputs
        prepared += image
        counted += math.prod(shape) * (FLOAT + len(stage.networks)) if votes else 0
        if votes or steps not in kept:
            kept[steps] = kept.get(steps, 0) + share
        else:
            added = max(added, share)
        # A padded copy of the image; logits, and probabilities of them.
        padded = int(image * share_of_padded(shape, stage.window))
        working = max(working, padded + int(2 * share * share_of_logits(shape, stage.window)))
    # The image, its crop and that normalized.
    reading = 3 * FLOAT * channels * voxels + READING * voxels
    writing = (WRITING + MEASURING if votes else WRITING) * voxels
    return CaseNeed(
        max(reading + prepared, prepared + working + counted, writing + counted), sum(kept.values()) + added
    )
