"""Bias field correction of magnetic resonance images, followed by a z-score."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.images.statistics import nonzero_mask, pieces
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import refuse
from autoseg.preprocessing.normalization.z_score import z_score

MOST_VOXELS = 32**3
"""Maximum number of voxels for the fit, independent of ``shrink``; limits its time to about five seconds. The finest of
four levels has 11 control points along an axis, so 32 voxels are still enough to resolve it."""
FEWEST_VOXELS = 64
"""Minimum number of foreground voxels; with fewer, no field is fitted."""
SMALLEST_EDGE = 4
"""Minimum number of voxels along an axis after shrinking, if the image has that many."""

_one_thread = threading.Lock()


@normalizations.register("bias_field_z_score")
@dataclass(frozen=True)
class BiasFieldZScore:
    """Divide by the bias field from N4 (Tustison et al. 2010), then subtract the mean and divide by the std.

    The field is fitted in log space to a shrunk image and then interpolated. 2D images and images one voxel thick are
    corrected in two dimensions. Images that are too small or too uniform for a fit are not corrected.
    """

    masked: bool = False
    """True: field, mean and std are computed in the non-zero mask; voxels outside it become 0. False: the field is
    computed from voxels above Otsu's threshold, mean and std from the whole image."""
    shrink: int = 4
    """Shrink factor of each axis: number of voxels averaged before the fit; larger for large images."""
    iterations: Sequence[int] = (50, 50, 50, 50)
    """Maximum number of iterations at each level; each level has twice the control points of the previous one."""

    def __post_init__(self) -> None:
        if self.shrink < 1:
            refuse("bias_field_z_score", "shrink", self.shrink, "at least 1")
        if not self.iterations or min(self.iterations) < 1:
            refuse("bias_field_z_score", "iterations", self.iterations, "numbers above 0, one for each level")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]; a constant image becomes zeros."""
        return z_score(self.corrected(image), nonzero_mask(image) if self.masked else None)

    def corrected(self, image: np.ndarray) -> np.ndarray:
        """Return [Z,Y,X] divided by its bias field and by its largest absolute value; unchanged without a field."""
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
        """Fit the logarithm of the field of a 2D or 3D image; None with too few or constant foreground voxels."""
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
    """Return the logarithm of the field on the grid of the shrunk image, as an ITK image."""
    import SimpleITK as sitk

    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(iterations))
    with _single_threaded():
        n4.Execute(small, inside)
        return n4.GetLogBiasFieldAsImage(small)


def _on_grid(field: Any, full: Any) -> np.ndarray | None:
    """Interpolate a field linearly, constant outside its outermost voxels; None if it is not finite."""
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(full)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    result = sitk.GetArrayFromImage(resampler.Execute(field))
    return result if np.isfinite(result).all() else None


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Use one thread in ITK: N4's results depend on the number of threads, and N4 ignores its own setting."""
    import SimpleITK as sitk

    with _one_thread:
        before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _shrink_factors(size: Sequence[int], wanted: int) -> list[int]:
    """Return the shrink factor of each axis: ``wanted``, but smaller for short axes and larger for large images."""
    most = [max(1, n // SMALLEST_EDGE) for n in size]
    factors = [min(wanted, limit) for limit in most]
    while np.prod([n // f for n, f in zip(size, factors, strict=True)]) > MOST_VOXELS:
        axis = max(range(len(size)), key=lambda a: size[a] // factors[a])
        factors[axis] += 1
    return factors
