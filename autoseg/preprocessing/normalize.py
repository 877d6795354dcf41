"""Intensity normalizations by name; what they need to know of the dataset stands in the plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoseg.registry import Registry

normalizations: Registry = Registry("normalizations")

_SMALLEST_DEVIATION = 1e-8
"""Keeps a constant image finite: it becomes zeros."""


def normalize(image: np.ndarray, specs: tuple[dict[str, Any], ...]) -> np.ndarray:
    """Normalize each channel of ``image`` [C,Z,Y,X] as its spec says; returns float32."""
    result = np.empty(image.shape, dtype=np.float32)
    for channel, spec in enumerate(specs):
        result[channel] = normalizations.build(spec, image=image[channel])
    return result


@normalizations.register("ct")
def ct(image: np.ndarray, *, lower: float, upper: float, mean: float, deviation: float) -> np.ndarray:
    """Clip to the foreground's range, then subtract its mean and divide by its standard deviation, all in the plan."""
    return (np.clip(image, lower, upper) - np.float32(mean)) / np.float32(max(deviation, _SMALLEST_DEVIATION))


@normalizations.register("z_score")
def z_score(image: np.ndarray, *, masked: bool = False) -> np.ndarray:
    """Subtract the case's own mean and divide by its standard deviation.

    ``masked``: only over the non-zero mask, holes filled; voxels outside it become 0.
    """
    if not masked:
        return (image - image.mean(dtype=np.float64)) / max(float(image.std(dtype=np.float64)), _SMALLEST_DEVIATION)
    mask = nonzero_mask(image)
    values = image[mask]
    if not values.size:
        return np.zeros_like(image)
    scaled = (image - values.mean(dtype=np.float64)) / max(float(values.std(dtype=np.float64)), _SMALLEST_DEVIATION)
    return np.where(mask, scaled, 0)


@normalizations.register("rescale")
def rescale(image: np.ndarray) -> np.ndarray:
    """Scale the case's own range to 0…1."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / max(high - low, _SMALLEST_DEVIATION)


@normalizations.register("rgb")
def rgb(image: np.ndarray) -> np.ndarray:
    """Scale 8-bit colours to 0…1."""
    return image / np.float32(255)


@normalizations.register("none")
def none(image: np.ndarray) -> np.ndarray:
    """Leave intensities as they are."""
    return image


def nonzero_mask(image: np.ndarray) -> np.ndarray:
    """Return where ``image`` [Z,Y,X] is not zero, with holes filled."""
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(image != 0)
