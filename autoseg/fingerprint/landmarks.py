"""Percentiles of a case for histogram matching."""

from __future__ import annotations

import numpy as np

from autoseg.images.statistics import percentiles

PERCENTAGES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Percentages of the landmarks: deciles, and 1 and 99 as ends that are robust against outliers (Nyúl et al. 2000)."""


MEASURED_VOXELS = 100_000
"""Voxels per case for fitting landmarks: ranks are exact to 0.2 %, and the landmarks are averaged over the cases."""


def foreground(image: np.ndarray, *, masked: bool) -> np.ndarray:
    """Return the voxels for histogram matching: non-zero voxels, or voxels above the mean (Nyúl et al.)."""
    return image[image != 0] if masked else image[image > image.mean(dtype=np.float64)]


def landmark_percentiles(image: np.ndarray, *, masked: bool) -> tuple[float, ...]:
    """Measure the percentiles for fitting landmarks; empty if the image has no foreground."""
    values = foreground(image, masked=masked)
    return tuple(percentiles(values, PERCENTAGES)) if values.size else ()
