"""batchgenerators' transforms in the loader: any of them, by the name of its class."""

from __future__ import annotations

import difflib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from autoseg.errors import PlanError

_MODULES = (
    "channel_selection_transforms",
    "color_transforms",
    "crop_and_pad_transforms",
    "local_transforms",
    "noise_transforms",
    "resample_transforms",
    "spatial_transforms",
    "utility_transforms",
)


@lru_cache(maxsize=1)
def transform_classes() -> dict[str, Callable[..., Any]]:
    """Return batchgenerators' transforms by class name."""
    modules = [import_module(f"batchgenerators.transforms.{name}") for name in _MODULES]
    # Not all have one base class; all have a name that says what they are.
    found = {
        name: member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.isclass)
        if name.endswith("Transform") and member.__module__ == module.__name__ and not inspect.isabstract(member)
    }
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class LoaderTransforms:
    """Several transforms of batchgenerators, as the plan lists them."""

    specs: tuple[Mapping[str, Any], ...]

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transform an image [C,*space] and its labels [*space]; all randomness comes from ``rng``."""
        data = {"data": image[None].copy(), "seg": labels[None, None].copy()}
        with _global_generators_seeded(int(rng.integers(2**32))):
            for transform in self._built():
                data = transform(**data)
        result, target = data["data"][0].astype(np.float32, copy=False), data["seg"][0, 0]
        if result.shape[1:] != image.shape[1:] or result.shape[0] != image.shape[0]:
            raise PlanError(
                f"augmentation.loader: the transforms made {result.shape} of {image.shape}, expected the same shape; "
                "leave out those that crop, pad or choose channels"
            )
        return result, target.astype(labels.dtype, copy=False)

    def _built(self) -> list[Any]:
        return [build_transform(spec) for spec in self.specs]


def build_loader_transform(specs: Sequence[Mapping[str, Any]], patch: Sequence[int]) -> LoaderTransforms:
    """Check the transforms that a plan lists and return what applies them to samples no smaller than ``patch``."""
    fitting = tuple(fitted for spec in specs if (fitted := _fit_rectangles(spec, min(patch))))
    for spec in fitting:
        build_transform(spec)
    return LoaderTransforms(fitting)


def _fit_rectangles(spec: Mapping[str, Any], edge: int) -> Mapping[str, Any] | None:
    """Keep rectangles smaller than the shortest edge, beyond which batchgenerators fails; None where none fits."""
    if spec.get("name") != "BlankRectangleTransform" or isinstance(spec.get("rectangle_size"), int):
        return spec
    if edge < 2:
        return None
    sizes = [[min(int(n), edge - 1) for n in limits] for limits in spec["rectangle_size"]]
    return {**spec, "rectangle_size": sizes}


def build_transform(spec: Mapping[str, Any]) -> Any:
    """Build one transform from its class name and arguments; lists of JSON become the tuples that they expect."""
    name = spec.get("name")
    classes = transform_classes()
    if name not in classes:
        nearest = difflib.get_close_matches(str(name), classes, n=3, cutoff=0.3)
        raise PlanError(f"augmentation.loader: found '{name}', expected a transform such as {', '.join(nearest)}")
    arguments = {key: _tuples(value) for key, value in spec.items() if key != "name"}
    try:
        return classes[name](**arguments)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(classes[name]).parameters)
        raise PlanError(f"augmentation.loader: '{name}': {error}; it takes: {allowed}") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


@contextmanager
def _global_generators_seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that batchgenerators draws from, and put them back as they were."""
    numpys, pythons = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)
