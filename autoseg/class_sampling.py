"""Patches centred on foreground and background in stated shares, or on every class alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoseg.body_sampling import Channel, draw_voxel, in_body
from autoseg.preprocessing.store import StoredCase
from autoseg.sampling import Triple, around, check_share, samplers


@samplers.register("half")
@dataclass(frozen=True)
class HalfSampler:
    """Centres in the foreground with a chance of ``fraction``, in the background otherwise (Kamnitsas et al. 2017).

    Foreground voxels are as likely whatever their class, so that the proportions of classes to each other stay as they
    are; regions that overlap are drawn by their sizes. The background is that of the body where ``channel`` says which
    channel tells it; see ``masked``. A case without foreground gives background alone.
    """

    fraction: float = 0.5
    channel: Channel | None = None

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Choose a place, whatever the position in the batch."""
        classes = sorted(case.foreground)
        if not classes or rng.random() >= self.fraction:
            return around(_background(case, self.channel, rng), case.shape, patch)
        # Coordinates are stored of some voxels of each class only; how many it has is known.
        sizes = np.array([case.record.class_voxels.get(str(c), len(case.foreground[c])) for c in classes], dtype=float)
        voxels = case.foreground[classes[int(rng.choice(len(classes), p=sizes / sizes.sum()))]]
        return around(voxels[rng.integers(len(voxels))], case.shape, patch)


@samplers.register("equal_per_class")
@dataclass(frozen=True)
class EqualPerClassSampler:
    """Centres in each class that the case has, the background among them, alike (Kamnitsas et al. 2018, EMMA).

    The background is that of the body where ``channel`` says which channel tells it; see ``masked``.
    """

    channel: Channel | None = None

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Choose a place, whatever the position in the batch."""
        classes = [None, *sorted(case.foreground)]
        chosen = classes[int(rng.integers(len(classes)))]
        if chosen is None:
            return around(_background(case, self.channel, rng), case.shape, patch)
        voxels = case.foreground[chosen]
        return around(voxels[rng.integers(len(voxels))], case.shape, patch)


def _background(case: StoredCase, channel: int | None, rng: np.random.Generator) -> Triple:
    """Draw a voxel of no class, in the body where a channel tells it."""
    inside: Callable[[Triple], bool] = (lambda voxel: True) if channel is None else in_body(case, channel)
    return draw_voxel(case, rng, lambda voxel: int(np.asarray(case.labels[voxel]).item()) == 0 and inside(voxel))
