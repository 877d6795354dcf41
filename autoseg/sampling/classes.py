"""Patches centred on foreground and background with given probabilities, or equally on every class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoseg.preprocessing.store import StoredCase
from autoseg.sampling.body import Channel, draw_voxel, in_body
from autoseg.sampling.stream import Triple, around, check_share, samplers


@samplers.register("half")
@dataclass(frozen=True)
class HalfSampler:
    """Patches centred on foreground with probability ``fraction``, else on background (Kamnitsas et al. 2017).

    All foreground voxels are equally likely, independent of their class, which keeps the proportions of the classes.
    Overlapping regions are drawn in proportion to their sizes. If ``channel`` is given, background voxels are drawn
    only inside the body, which this channel defines; see ``masked``. In a case without foreground, all patches are
    centred on background.
    """

    fraction: float = 0.5
    channel: Channel | None = None

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Draw a patch; the position in the batch has no effect."""
        classes = sorted(case.foreground)
        if not classes or rng.random() >= self.fraction:
            return around(_background(case, self.channel, rng), case.shape, patch)
        # Only some coordinates of each class are stored; the record contains the true number of voxels.
        sizes = np.array([case.record.class_voxels.get(str(c), len(case.foreground[c])) for c in classes], dtype=float)
        voxels = case.foreground[classes[int(rng.choice(len(classes), p=sizes / sizes.sum()))]]
        return around(voxels[rng.integers(len(voxels))], case.shape, patch)


@samplers.register("equal_per_class")
@dataclass(frozen=True)
class EqualPerClassSampler:
    """Patches centred with equal probability on each class of the case and on background (Kamnitsas et al. 2018, EMMA).

    If ``channel`` is given, background voxels are drawn only inside the body, which this channel defines; see
    ``masked``.
    """

    channel: Channel | None = None

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Draw a patch; the position in the batch has no effect."""
        classes = [None, *sorted(case.foreground)]
        chosen = classes[int(rng.integers(len(classes)))]
        if chosen is None:
            return around(_background(case, self.channel, rng), case.shape, patch)
        voxels = case.foreground[chosen]
        return around(voxels[rng.integers(len(voxels))], case.shape, patch)


def _background(case: StoredCase, channel: int | None, rng: np.random.Generator) -> Triple:
    """Draw a background voxel; only inside the body if ``channel`` is given."""
    inside: Callable[[Triple], bool] = (lambda voxel: True) if channel is None else in_body(case, channel)
    return draw_voxel(case, rng, lambda voxel: int(np.asarray(case.labels[voxel]).item()) == 0 and inside(voxel))
