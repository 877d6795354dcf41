"""Estimate the memory that a case needs from reading to writing, from the header of its image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.data.dataset import Dataset
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.inference.members import Member
from autoseg.inference.sliding_window import share_of_logits, share_of_padded, takes_whole
from autoseg.plan.schema import Plan, data_id
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.record import PreprocessingRecord, preprocessing_of
from autoseg.system.memory import available_memory

SHARE_FOR_CASES = 0.7
"""Maximum share of the free memory for cases; network activations, libraries and other programs need the rest."""
FLOAT = 4
"""Bytes of float32."""
READING = 2 * FLOAT
"""Bytes per voxel while one channel is read: the array of the file and the converted array."""
WRITING = 24
"""Bytes per voxel while labels are decoded and post-processed: scores of two classes, masks, components, label maps."""
MEASURING = 5 * FLOAT
"""Bytes per voxel while uncertainty is measured: entropy, disagreement and the terms of one class."""
LABEL = 1
"""Bytes per voxel of a stored label map; more than 255 labels are rare."""


@dataclass(frozen=True)
class CaseNeed:
    """Maximum bytes that a case needs."""

    arrays: int
    """Bytes of images, label maps and the logits being computed."""
    scores: int
    """Bytes of probabilities, which can be stored in files instead: one mean for each grid, and the scores that are
    being added."""

    @property
    def total(self) -> int:
        """Bytes if everything is in memory."""
        return self.arrays + self.scores


def memory_for_cases(memory: int | None = None) -> int:
    """Return the bytes for cases in progress: ``memory``, or by default a share of the memory this process can use."""
    return memory or int(available_memory() * SHARE_FOR_CASES)


def case_need(
    geometry: Geometry,
    plan: Plan,
    dataset: Dataset,
    stages: Sequence[Member],
    *,
    member_predictions: bool = False,
    hypotheses: int = 0,
) -> CaseNeed:
    """Estimate the bytes of a case that all ``stages`` predict.

    With ``member_predictions``, the predictions of each network are kept for measuring uncertainty. The ``hypotheses``
    are computed one after the other, in addition to the probabilities of all stages; only their label maps are kept.
    The crop is not known before reading, so the estimate uses the size of the whole image.
    """
    voxels = math.prod(geometry.size)
    working = largest = added = counted = 0
    scores: dict[PreprocessingRecord, int] = {}
    images: dict[str, int] = {}
    for stage in stages:
        preprocessing = preprocessing_of(geometry, Box((0, 0, 0), geometry.size), plan, stage.configuration)
        image = FLOAT * math.prod(preprocessing.shape) * channel_layout(stage.configuration, dataset).stored
        share = FLOAT * math.prod(preprocessing.shape) * stage.tiling.outputs
        images[data_id(plan, stage.configuration)] = image
        counted += math.prod(preprocessing.shape) * (FLOAT + len(stage.networks)) if member_predictions else 0
        if member_predictions or preprocessing not in scores:
            scores[preprocessing] = scores.get(preprocessing, 0) + share
        else:
            added = max(added, share)
        largest = max(largest, share)
        working = max(working, _working(stage, preprocessing.shape, image, share))
    prepared = sum(images.values())
    # Three copies: the image, the cropped image and the normalized image.
    reading = 3 * FLOAT * len(dataset.channels) * voxels + READING * voxels
    writing = (WRITING + MEASURING if member_predictions else WRITING) * voxels
    computing = prepared + (max(working, WRITING * voxels) if hypotheses else working)
    kept = counted + hypotheses * LABEL * voxels
    held = sum(scores.values()) + added + (largest if hypotheses else 0)
    return CaseNeed(max(reading + prepared, computing + kept, writing + kept), held)


def _working(stage: Member, shape: tuple[int, int, int], image: int, share: int) -> int:
    """Estimate the bytes of computing a stage: a padded copy of the image, the logits and the logits being added."""
    if any(takes_whole(network) for network in stage.networks):
        # Sums in double precision over the whole image, including the label map's channels, with their inputs; and
        # the scores to which each tree adds.
        labels = FLOAT * math.prod(shape) * stage.tiling.previous_labels
        return 6 * (image + labels) + 4 * share
    padded = int(image * share_of_padded(shape, stage.tiling))
    return padded + int(2 * share * share_of_logits(shape, stage.tiling))
