"""Patches centred in the body, where a channel differs from its constant value around the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
from annotated_types import Ge

from autoseg.preprocessing.store import StoredCase
from autoseg.sampling.stream import Triple, around, samplers

TRIES = 100
"""Maximum number of draws for one accepted voxel (enough if 1 in 20 is accepted); then the last drawn one is used."""
SURROUND_TOLERANCE = 1e-3
"""Tolerance for 16-bit storage and resampling: absolute for normalized intensities up to 1, relative above 1."""
SURROUND_CORNERS = 5
"""Minimum number of the eight corners of an image with the same value; with fewer, no surround exists."""

Channel = Annotated[int, Ge(0)]


@samplers.register("masked")
@dataclass(frozen=True)
class MaskedSampler:
    """Patches centred uniformly on voxels of the body, for example the brain in a skull-stripped image.

    No mask is stored. The surround is the value of most corners of the image in ``channel`` (index of a channel after
    normalization). The body is all voxels with another value. If the corners differ from each other, as with noise, no
    surround exists and the body is the whole image.
    """

    channel: Channel = 0

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Draw a patch; the position in the batch has no effect."""
        return around(draw_voxel(case, rng, in_body(case, self.channel)), case.shape, patch)


def in_body(case: StoredCase, channel: int) -> Callable[[Triple], bool]:
    """Return a test for voxels in the body, based on ``channel``; if it is missing, on the first channel present."""
    if channel in case.record.missing_channels:
        # A case has at least one of its channels, so a channel that is not missing always exists.
        channel = next(number for number in range(case.image.shape[0]) if number not in case.record.missing_channels)
    outside = surround(case, channel)
    if outside is None:
        return lambda voxel: True
    return lambda voxel: not _is(_value(case, channel, voxel), outside)


def surround(case: StoredCase, channel: int) -> float | None:
    """Return the value of a channel around the body; None if no such constant value exists."""
    corners = [_value(case, channel, corner) for corner in product(*((0, n - 1) for n in case.shape))]
    counts = [sum(_is(value, other) for value in corners) for other in corners]
    most = int(np.argmax(counts))
    return corners[most] if counts[most] >= SURROUND_CORNERS else None


def draw_voxel(case: StoredCase, rng: np.random.Generator, accepted: Callable[[Triple], bool]) -> Triple:
    """Draw non-ignored voxels uniformly until one is accepted; after :data:`TRIES` draws, return the last one."""
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
