"""Correction of the bias field of magnetic resonance images, before a z-score."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import refuse
from autoseg.preprocessing.normalization.statistics import nonzero_mask, pieces
from autoseg.preprocessing.normalization.z_score import z_score

MOST_VOXELS = 32**3
"""Voxels that the field is fitted to at most, whatever ``shrink`` says: its time is bounded to about five seconds. The
finest of four levels has 11 control points along an axis, so that 32 voxels still tell it apart."""
FEWEST_VOXELS = 64
"""A field is not fitted to a foreground of fewer."""
SMALLEST_EDGE = 4
"""Voxels that shrinking leaves along an axis, where there are as many."""

_one_thread = threading.Lock()


@normalizations.register("bias_field_z_score")
@dataclass(frozen=True)
class BiasFieldZScore:
    """Divide by the bias field that N4 finds (Tustison et al. 2010), then subtract mean and divide by deviation.

    The field is fitted, in log space, to a shrunk image and then interpolated. Slices and images that are one voxel
    thick are corrected in two dimensions; what is too small or too uniform to be fitted is not corrected.
    """

    masked: bool = False
    """Field, mean and deviation are those of the non-zero mask; voxels outside it become 0. Otherwise the field is
    that of the voxels above Otsu's threshold, mean and deviation those of the whole image."""
    shrink: int = 4
    """Voxels along each axis that are averaged before the fit; more where the image is large."""
    iterations: Sequence[int] = (50, 50, 50, 50)
    """The most iterations at each level; each has twice the control points of the last."""

    def __post_init__(self) -> None:
        if self.shrink < 1:
            refuse("bias_field_z_score", "shrink", self.shrink, "at least 1")
        if not self.iterations or min(self.iterations) < 1:
            refuse("bias_field_z_score", "iterations", self.iterations, "numbers above 0, one for each level")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]; a constant image becomes zeros."""
        return z_score(self.corrected(image), nonzero_mask(image) if self.masked else None)

    def corrected(self, image: np.ndarray) -> np.ndarray:
        """Return [Z,Y,X] without its bias field, divided by its largest value as well."""
        flat = image.squeeze()
        peak = max(float(image.max()), -float(image.min()))
        field = self._log_field(flat / np.float32(peak)) if flat.ndim > 1 and peak else None
        if field is None:
            return image
        result = np.empty(image.shape, dtype=np.float32)
        values, logs, out = image.reshape(-1), field.reshape(-1), result.reshape(-1)
        for piece in pieces(values.size):
            out[piece] = values[piece] / (peak * np.exp(logs[piece].astype(np.float64)))
        return result

    def _log_field(self, image: np.ndarray) -> np.ndarray | None:
        """Fit the logarithm of the field of a 2D or 3D image; None where there is too little to fit it to."""
        import SimpleITK as sitk

        full = sitk.GetImageFromArray(image)
        factors = _shrink_factors(full.GetSize(), self.shrink)
        small = sitk.BinShrink(full, factors)
        inside = sitk.BinShrink(sitk.Cast(full > 0, sitk.sitkFloat32), factors) > 1 - 1e-6
        if not self.masked:
            inside = sitk.And(inside, sitk.OtsuThreshold(small, 0, 1))
        values = sitk.GetArrayViewFromImage(small)[sitk.GetArrayViewFromImage(inside) > 0]
        if values.size < FEWEST_VOXELS or values.min() == values.max():
            return None
        return _on_grid(_fit(small, inside, self.iterations), full)


def _fit(small: Any, inside: Any, iterations: Sequence[int]) -> Any:
    """Return the logarithm of the field on the grid of the shrunk image, as ITK's image."""
    import SimpleITK as sitk

    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(iterations))
    with _single_threaded():
        n4.Execute(small, inside)
        return n4.GetLogBiasFieldAsImage(small)


def _on_grid(field: Any, full: Any) -> np.ndarray | None:
    """Interpolate a field linearly, constant beyond its outermost voxels; None where it is not finite."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(full)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    result = sitk.GetArrayFromImage(resampler.Execute(field))
    return result if np.isfinite(result).all() else None


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Let ITK use one thread: N4 adds up in another order with each number of them, and its own setting is ignored."""
    import SimpleITK as sitk

    with _one_thread:
        before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _shrink_factors(size: Sequence[int], wanted: int) -> list[int]:
    """Return the factor of each axis: as wanted, less where few voxels would be left, more where many would."""
    most = [max(1, n // SMALLEST_EDGE) for n in size]
    factors = [min(wanted, limit) for limit in most]
    while np.prod([n // f for n, f in zip(size, factors, strict=True)]) > MOST_VOXELS:
        axis = max(range(len(size)), key=lambda a: size[a] // factors[a])
        factors[axis] += 1
    return factors
