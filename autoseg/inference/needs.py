"""How much memory a case takes from its reading to its writing, told from its header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.geometry import Geometry
from autoseg.inference.members import Member
from autoseg.inference.sliding_window import share_of_logits, share_of_padded, takes_whole
from autoseg.memory import available_memory
from autoseg.plan import Plan, data_id
from autoseg.preprocessing.case import Steps, steps_of
from autoseg.preprocessing.crop import Box
from autoseg.preprocessing.extra import stored_channels

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
LABEL = 1
"""Bytes of a voxel of a label map that is kept; more than 255 labels are rare."""


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
    geometry: Geometry,
    plan: Plan,
    stages: Sequence[Member],
    *,
    channels: int,
    votes: bool = False,
    hypotheses: int = 0,
) -> CaseNeed:
    """Estimate what a case takes that each of ``stages`` predicts; ``votes`` are kept for its uncertainty.

    Of ``hypotheses`` the label maps are kept; they are made one after the other, beside the probabilities of all.
    Nothing is known of the crop, so that the whole image counts.
    """
    voxels = math.prod(geometry.size)
    working = largest = added = counted = 0
    scores: dict[Steps, int] = {}
    images: dict[str, int] = {}
    for stage in stages:
        steps = steps_of(geometry, Box((0, 0, 0), geometry.size), plan, stage.configuration)
        image = FLOAT * math.prod(steps.shape) * stored_channels(stage.configuration)
        share = FLOAT * math.prod(steps.shape) * stage.window.outputs
        images[data_id(plan, stage.configuration)] = image
        counted += math.prod(steps.shape) * (FLOAT + len(stage.networks)) if votes else 0
        if votes or steps not in scores:
            scores[steps] = scores.get(steps, 0) + share
        else:
            added = max(added, share)
        largest = max(largest, share)
        working = max(working, _working(stage, steps.shape, image, share))
    prepared = sum(images.values())
    # The image, its crop and that normalized.
    reading = 3 * FLOAT * channels * voxels + READING * voxels
    writing = (WRITING + MEASURING if votes else WRITING) * voxels
    computing = prepared + (max(working, WRITING * voxels) if hypotheses else working)
    kept = counted + hypotheses * LABEL * voxels
    held = sum(scores.values()) + added + (largest if hypotheses else 0)
    return CaseNeed(max(reading + prepared, computing + kept, writing + kept), held)


def _working(stage: Member, shape: tuple[int, int, int], image: int, share: int) -> int:
    """Estimate the bytes of one forward: a padded copy of the image; logits, and those that are added to them."""
    if any(takes_whole(network) for network in stage.networks):
        # Sums over a whole image, its label map's channels included, in double precision, and what they are made from;
        # what each tree adds to.
        labels = FLOAT * math.prod(shape) * stage.window.previous_labels
        return 6 * (image + labels) + 4 * share
    padded = int(image * share_of_padded(shape, stage.window))
    return padded + int(2 * share * share_of_logits(shape, stage.window))
