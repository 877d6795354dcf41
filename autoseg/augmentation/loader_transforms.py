"""batchgenerators' transforms in the loader: any of them, by the name of its class."""

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
"""Arguments by which a transform is made to act when it is tried."""
TRIAL_MARGIN = 2
"""Voxels by which the sample on which transforms are tried is longer than a patch, as samples to be turned are."""


@dataclass(frozen=True)
class LoaderTransforms:
    """Several transforms of batchgenerators, as the plan lists them."""

    specs: tuple[Mapping[str, Any], ...]

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transform an image [C,*space] and its labels [*space], or several label maps [M,*space].

        All randomness comes from ``rng``.

        Raises :class:`PlanError` where a transform fails or changes the shape.
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
    """Try the transforms that a plan lists, and return what applies them to samples no smaller than ``patch``.

    ``larger`` tells that samples may be larger than it: a transform that makes them all of one size is refused then.

    Each spec is ``{"name": "<class of batchgenerators>", **arguments}``; lists, and the forms of
    :mod:`autoseg.augmentation.loader_arguments`, become what the class expects. Raises :class:`PlanError` for names and
    arguments that do not exist, and for transforms that fail on such samples, change their shape or make no numbers.
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
                f"augmentation.loader: '{spec['name']}' made values that are not numbers of an image of mean 0 and "
                "deviation 1; change its arguments or leave it out"
            )
    return LoaderTransforms(fitting)


def _always(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transform with its probabilities at 1; lists of probabilities stay as they are."""
    takes = inspect.signature(transform_class(spec.get("name"))).parameters
    sure = {name: 1.0 for name in ALWAYS if name in takes and not isinstance(spec.get(name), list | tuple)}
    return {**spec, **sure}


def _applied(spec: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Apply one transform and see that it has left image and labels in their places."""
    shapes = {key: array.shape for key, array in data.items()}
    transform = build_transform(spec)
    try:
        result: dict[str, Any] = transform(**data)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise PlanError(
            f"augmentation.loader: '{spec['name']}' failed on an image of shape {shapes['data'][1:]}: "
            f"{type(error).__name__}: {reason}; change its arguments or leave it out"
        ) from error
    for key, shape in shapes.items():
        made = result.get(key)
        if not isinstance(made, np.ndarray) or made.shape != shape:
            found = made.shape[1:] if isinstance(made, np.ndarray) else type(made).__name__
            raise PlanError(
                f"augmentation.loader: '{spec['name']}' made {found} of {key} of shape {shape[1:]}, expected an array "
                "of the same shape; leave out transforms that crop, pad, convert or choose channels"
            )
    return result


def _fit_rectangles(spec: Mapping[str, Any], patch: Sequence[int]) -> Mapping[str, Any] | None:
    """Keep rectangles shorter than the patch along each axis, as batchgenerators needs; None where none fits."""
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
    """Seed the global generators that batchgenerators draws from, and put them back as they were.

    It draws some integers by a function that numpy has deprecated; the warning could only be repeated by every worker.
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
