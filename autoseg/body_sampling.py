"""Patches centred in the body: where a channel is not what it is all around."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
from annotated_types import Ge

from autoseg.preprocessing.store import StoredCase
from autoseg.sampling import Triple, around, samplers

TRIES = 100
"""Voxels that are drawn at most for one that is accepted: enough where one in twenty is; the last is taken anyway."""
SURROUND_TOLERANCE = 1e-3
"""What storage in 16 bits and resampling change a constant by, of a normalized intensity, or as a share of a larger."""
SURROUND_CORNERS = 5
"""Corners of an image, of eight, that have the same value where there is a surround."""

Channel = Annotated[int, Ge(0)]


@samplers.register("masked")
@dataclass(frozen=True)
class MaskedSampler:
    """Patches centred on voxels in the body, each as likely, such as in the brain of an image without its skull.

    No mask is stored. The surround is what most corners of the image have in ``channel``, counted after normalization;
    the body is all that differs from it. Where corners differ from each other, as in noise, there is no surround, and
    the body is all of the image.
    """

    channel: Channel = 0

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Choose a place, whatever the position in the batch."""
        return around(draw_voxel(case, rng, in_body(case, self.channel)), case.shape, patch)


def in_body(case: StoredCase, channel: int) -> Callable[[Triple], bool]:
    """Return what tells whether a voxel of a case is in the body, by a channel or, where that is missing, the first."""
    if channel in case.record.absent:
        # A case has one of its channels at least, and fewer channels than those are computed beside them.
        channel = next(number for number in range(case.image.shape[0]) if number not in case.record.absent)
    outside = surround(case, channel)
    if outside is None:
        return lambda voxel: True
    return lambda voxel: not _is(_value(case, channel, voxel), outside)


def surround(case: StoredCase, channel: int) -> float | None:
    """Return what a channel is around the body, None where nothing is all around."""
    corners = [_value(case, channel, corner) for corner in product(*((0, n - 1) for n in case.shape))]
    counts = [sum(_is(value, other) for value in corners) for other in corners]
    most = int(np.argmax(counts))
    return corners[most] if counts[most] >= SURROUND_CORNERS else None


def draw_voxel(case: StoredCase, rng: np.random.Generator, accepted: Callable[[Triple], bool]) -> Triple:
    """Draw voxels that are not ignored, each as likely, until one is accepted; the last of :data:`TRIES` if none is."""
    for _ in range(TRIES):
        drawn = rng.integers(case.shape) if case.annotated is None else _one_of(case.annotated, rng)
        voxel = (int(drawn[0]), int(drawn[1]), int(drawn[2]))
        if accepted(voxel):
            break
    return voxel


def _one_of(voxels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drawn: np.ndarray = voxels[rng.integers(len(voxels))]
    return drawn


def _value(case: StoredCase, channel: int, voxel: tuple[int, ...]) -> float:
    return float(np.asarray(case.image[(channel, *voxel)]).item())


def _is(value: float, outside: float) -> bool:
    return abs(value - outside) <= SURROUND_TOLERANCE * max(1.0, abs(outside))
