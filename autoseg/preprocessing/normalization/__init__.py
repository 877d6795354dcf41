"""Intensity normalizations by name; the plan contains the dataset statistics that they need.

Each normalization is a frozen dataclass whose fields are the arguments in the plan. Called with one channel [Z,Y,X]
float32, it returns the normalized channel [Z,Y,X], or [channels,Z,Y,X] if it makes several channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from autoseg.registry import Component, Registry

normalizations: Registry = Registry(
    "normalizations",
    modules=tuple(
        f"autoseg.preprocessing.normalization.{module}"
        for module in ("bias_field", "ct", "nyul", "percentile", "plain", "suv", "window", "z_score")
    ),
)


class Normalization(Protocol):
    """The interface of a normalization.

    Three attributes are optional. ``channels``: number of output channels for one input channel. ``units``: a pair
    (offset, scale), the same for all cases, so that stored value × scale + offset is the value in the file.
    ``fitted``: arguments that the planner fits, with placeholder values used before.
    """

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize one channel [Z,Y,X]; returns float32 and does not modify its input."""
        ...


def normalize(image: np.ndarray, specs: Sequence[Component]) -> np.ndarray:
    """Normalize each channel of ``image`` [C,Z,Y,X] with its spec; returns float32 [channels,Z,Y,X]."""
    result = np.empty((output_channels(specs), *image.shape[1:]), dtype=np.float32)
    first = 0
    for channel, spec in zip(image, specs, strict=True):
        chosen = normalizations.build(spec)
        last = first + _channels(chosen)
        result[first:last] = chosen(channel)
        first = last
    return result


def normalized_channels(specs: Sequence[Component]) -> list[slice]:
    """Return the normalized channels, as a slice, of each channel of the file."""
    places, first = [], 0
    for spec in specs:
        last = first + _channels(normalizations.build(spec))
        places.append(slice(first, last))
        first = last
    return places


def fill_missing_channels(
    image: np.ndarray, specs: Sequence[Component], fill_values: Mapping[int, float]
) -> np.ndarray:
    """Insert the missing channels of a case, each filled with its fill value, into its normalized image.

    ``image`` [existing channels,Z,Y,X]; ``fill_values``: by number of the missing channel in the file. Returns
    [channels,Z,Y,X].
    """
    if not fill_values:
        return image
    result = np.empty((output_channels(specs), *image.shape[1:]), dtype=image.dtype)
    first = 0
    for number, place in enumerate(normalized_channels(specs)):
        count = place.stop - place.start
        result[place] = fill_values[number] if number in fill_values else image[first : first + count]
        first += 0 if number in fill_values else count
    return result


def output_channels(specs: Sequence[Component]) -> int:
    """Return the number of channels after normalization; there is one spec per channel of the file."""
    return sum(_channels(normalizations.build(spec)) for spec in specs)


def stored_units(specs: Sequence[Component]) -> list[tuple[float, float] | None]:
    """Return (offset, scale) of each normalized channel: stored value × scale + offset is the value in the file.

    None if offset and scale differ between cases. Clipping cannot be undone.
    """
    chosen = [normalizations.build(spec) for spec in specs]
    return [getattr(one, "units", None) for one in chosen for _ in range(_channels(one))]


def _channels(normalization: Normalization) -> int:
    return getattr(normalization, "channels", 1)
