"""batchgenerators' transforms, applied in the loader and chosen by class name."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.augmentation.loader_catalogue import build_transform, transform_class
from autoseg.errors import PlanError

ALWAYS = ("p_per_sample", "p_per_channel")
"""Arguments that are set to 1 in the trial, so that the transform is always applied."""
TRIAL_MARGIN = 2
"""Voxels added to each edge of the trial sample, because samples to be rotated are larger than a patch."""


@dataclass(frozen=True)
class LoaderTransforms:
    """Transforms of batchgenerators in the order of the plan."""

    specs: tuple[Mapping[str, Any], ...]

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transform an image [C,*space] and its labels [*space], or several label maps [M,*space].

        All random draws use ``rng``. Raises :class:`PlanError` if a transform fails or changes the shape.
        """
        data = {"data": image[None].astype(np.float32), "seg": labels.reshape(1, -1, *image.shape[1:]).copy()}
        with _global_generators_seeded(int(rng.integers(2**32))):
            for spec in self.specs:
                data = _applied(spec, data)
        moved = data["seg"].reshape(labels.shape).astype(labels.dtype, copy=False)
        return data["data"][0].astype(np.float32, copy=False), moved


def build_loader_transform(
    specs: Sequence[Mapping[str, Any]], *, patch: Sequence[int], channels: int, larger: bool = True
) -> LoaderTransforms:
    """Try the transforms of a plan once and return them, for samples of at least the size of ``patch``.

    If ``larger``, samples can be larger than the patch; then transforms that give all samples one size are an error.

    Each spec is ``{"name": "<class of batchgenerators>", **arguments}``; lists and the forms of
    :mod:`autoseg.augmentation.loader_arguments` are converted. Raises :class:`PlanError` for unknown names and
    arguments, and for transforms that fail, change the shape, or return NaN or infinity.
    """
    fitting = tuple(fitted for spec in specs if (fitted := _fit_rectangles(spec, patch)) is not None)
    shape = [n + TRIAL_MARGIN * larger for n in patch]
    rng = np.random.default_rng(0)
    image = rng.normal(size=(channels, *shape)).astype(np.float32)
    labels = rng.integers(0, 2, shape, dtype=np.int16)
    for spec in fitting:
        tried, _ = LoaderTransforms((_always(spec),))(image, labels, rng)
        if not np.isfinite(tried).all():
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' returned NaN or infinity for an image of mean 0 and std 1, "
                "expected finite numbers; change its arguments or remove it"
            )
    return LoaderTransforms(fitting)


def _always(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transform with its probabilities set to 1; lists of probabilities are not changed."""
    takes = inspect.signature(transform_class(spec.get("name"))).parameters
    sure = {name: 1.0 for name in ALWAYS if name in takes and not isinstance(spec.get(name), list | tuple)}
    return {**spec, **sure}


def _applied(spec: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Apply one transform and check that image and labels keep their shapes."""
    shapes = {key: array.shape for key, array in data.items()}
    transform = build_transform(spec)
    try:
        result: dict[str, Any] = transform(**data)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise PlanError(
            f"augmentation.loader: '{spec['name']}' failed on an image of shape {shapes['data'][1:]}: "
            f"{type(error).__name__}: {reason}; change its arguments or remove it"
        ) from error
    for key, shape in shapes.items():
        made = result.get(key)
        if not isinstance(made, np.ndarray) or made.shape != shape:
            found = made.shape[1:] if isinstance(made, np.ndarray) else type(made).__name__
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' returned {found} for {key} of shape {shape[1:]}, expected an "
                "array of the same shape; remove transforms that crop, pad, convert or choose channels"
            )
    return result


def _fit_rectangles(spec: Mapping[str, Any], patch: Sequence[int]) -> Mapping[str, Any] | None:
    """Limit rectangles to less than the patch on each axis, as batchgenerators requires; None if impossible."""
    sizes = spec.get("rectangle_size")
    if spec.get("name") != "BlankRectangleTransform" or not isinstance(sizes, list | tuple):
        return spec
    if min(patch) < 2:
        return None
    edges = [min(patch)] * len(patch) if spec.get("force_square") else patch
    return {**spec, "rectangle_size": [_at_most(size, n - 1) for size, n in zip(sizes, edges, strict=False)]}


def _at_most(size: Any, limit: int) -> Any:
    return [min(int(n), limit) for n in size] if isinstance(size, list | tuple) else min(int(size), limit)


@contextmanager
def _global_generators_seeded(seed: int) -> Iterator[None]:
    """Seed the global random generators that batchgenerators uses, and restore their state afterwards.

    batchgenerators calls a deprecated function of numpy. Its warning is ignored, because every worker would repeat it.
    """
    numpys, pythons = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)
