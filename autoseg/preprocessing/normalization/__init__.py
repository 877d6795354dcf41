"""Intensity normalizations by name; what they need to know of the dataset stands in the plan.

Each is a frozen dataclass whose fields are the arguments that a plan lists. Called with one channel [Z,Y,X] float32, it
returns that channel, or [channels,Z,Y,X] where it makes several of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from autoseg.plan import Component
from autoseg.registry import Registry

normalizations: Registry = Registry(
    "normalizations",
    modules=tuple(
        f"autoseg.preprocessing.normalization.{module}"
        for module in ("bias_field", "ct", "nyul", "percentile", "plain", "suv", "window", "z_score")
    ),
)


class Normalization(Protocol):
    """What a plan's normalization becomes.

    Three further attributes are read where there are any: ``channels``, the number that it makes of one; ``units``, a
    pair (offset, scale) where stored values × scale + offset are those of the file, the same for all cases; and
    ``fitted``, arguments that the planner finds, with values that stand for them until then.
    """

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize one channel [Z,Y,X]; returns float32, and never changes what it is given."""
        ...


def normalize(image: np.ndarray, specs: Sequence[Component]) -> np.ndarray:
    """Normalize each channel of ``image`` [C,Z,Y,X] as its spec says; returns float32 [channels,Z,Y,X]."""
    result = np.empty((output_channels(specs), *image.shape[1:]), dtype=np.float32)
    first = 0
    for channel, spec in zip(image, specs, strict=True):
        chosen = normalizations.build(spec)
        last = first + _channels(chosen)
        result[first:last] = chosen(channel)
        first = last
    return result


def channel_places(specs: Sequence[Component]) -> list[slice]:
    """Return which channels normalizing gives for each one of the file."""
    places, first = [], 0
    for spec in specs:
        last = first + _channels(normalizations.build(spec))
        places.append(slice(first, last))
        first = last
    return places


def fill_absent(image: np.ndarray, specs: Sequence[Component], fills: Mapping[int, float]) -> np.ndarray:
    """Put the channels that a case lacks, by their number in the file, between those that it has, normalized.

    ``image`` [channels that are there,Z,Y,X]; each of the others has its fill value everywhere. Returns
    [channels,Z,Y,X].
    """
    if not fills:
        return image
    result = np.empty((output_channels(specs), *image.shape[1:]), dtype=image.dtype)
    first = 0
    for number, place in enumerate(channel_places(specs)):
        count = place.stop - place.start
        result[place] = fills[number] if number in fills else image[first : first + count]
        first += 0 if number in fills else count
    return result


def output_channels(specs: Sequence[Component]) -> int:
    """Count the channels that normalizing gives; the image of the file has one for each spec."""
    return sum(_channels(normalizations.build(spec)) for spec in specs)


def stored_units(specs: Sequence[Component]) -> list[tuple[float, float] | None]:
    """Return (offset, scale) of each channel after normalization: stored × scale + offset is what the file held.

    None where that differs from case to case. Clipped intensities stay clipped.
    """
    chosen = [normalizations.build(spec) for spec in specs]
    return [getattr(one, "units", None) for one in chosen for _ in range(_channels(one))]


def _channels(normalization: Normalization) -> int:
    return getattr(normalization, "channels", 1)
