"""Networks as planners describe them for an example patch, to show their taps and margins."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from autoseg.errors import AutosegError, PlanError, one_line
from autoseg.networks import networks
from autoseg.networks.build import PatchError, output_size
from autoseg.networks.planning import USUAL_FEATURES, NetworkSpec, Plans
from autoseg.networks.taps import tap_shapes
from autoseg.planners.deepmedic import VARIANTS
from autoseg.planners.hyperdense import hyperdense_spec, segments
from autoseg.planners.probabilistic_unet import probabilistic_unet_spec
from autoseg.planners.random_forest import FEATURES
from autoseg.planners.random_forest import NAME as FOREST
from autoseg.planners.topology import pad_to_divisor
from autoseg.registry import Component

EDGE = 128
"""Edge in voxels of the example patch, or of the example image for planners with smaller patches."""
CHANNELS = 1
OUTPUTS = 2
Shape = tuple[int, ...]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Example:
    """A network for an example patch in voxels; its weights have no storage."""

    network: nn.Module
    patch: Shape

    @property
    def margin(self) -> Shape:
        """Voxels on each side of a patch for which the network returns no logits."""
        return tuple(getattr(self.network, "margin", ()))

    def shapes(self) -> dict[str, Shape]:
        """Return the shape (C, *space) of each tap; raise :class:`PlanError` if the network cannot be run."""
        try:
            output_size(self.patch, self.margin)
            return tap_shapes(self.network, CHANNELS, self.patch)
        except PatchError as error:
            raise PlanError(f"patch: {error}") from error
        except AutosegError:
            raise
        except Exception as error:  # A network of another package may raise anything.
            raise PlanError(f"patch {list(self.patch)}: the network cannot read it: {one_line(error)}") from error


def build_example(name: str, dimension: int, patch: Shape | None = None) -> Example:
    """Build a network for a patch, by default for the one that its planner would choose for an image of 128 voxels.

    A patch grows to a multiple of the network's divisor. Raises :class:`PlanError` if the network cannot be built.
    """
    if name in _PLANNED_APART:
        spec, chosen = _PLANNED_APART[name](dimension, patch)
    else:
        spec, chosen = _planned_by_stages(name, dimension, patch)
    try:
        with torch.device("meta"):
            network = networks.build(spec, in_channels=CHANNELS, outputs=OUTPUTS, dimension=dimension)
    except AutosegError:
        raise
    except Exception as error:  # A network of another package may raise anything.
        raise PlanError(f"network '{name}': cannot be built in {dimension}D: {one_line(error)}") from error
    divisor = getattr(network, "divisor", (1,) * dimension)
    fits = patch is not None and all(n % step == 0 for n, step in zip(patch, divisor, strict=True))
    return Example(network, patch if patch and fits else chosen)


def planners_of(name: str) -> list[str]:
    """Return the planners that write a network into a plan, without ensembles."""
    if name == "deepmedic":
        return list(VARIANTS)
    return [name] if name in {"hyperdense", "probabilistic_unet", FOREST} else list(_plans(name))


def joined(taps: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Join successive taps with equal values: ``layer_0``, ``layer_1``, ``layer_2`` become ``layer_0 … layer_2``."""
    groups = itertools.groupby(taps.items(), key=lambda tap: (re.sub(r"\d+$", "", tap[0]), tap[1]))
    found = []
    for (_, value), group in groups:
        names = [name for name, _ in group]
        found.append((names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}", value))
    return found


def _plans(name: str) -> Plans:
    plans: Plans = getattr(networks.get(name), "plans", {})
    return plans


def _planned_by_stages(name: str, dimension: int, patch: Shape | None) -> tuple[Component, Shape]:
    """Describe a network by its first planner; without a planner, without arguments."""
    spec = next(iter(_plans(name).values()), lambda *_: {"name": name})
    return _with_stages(spec, dimension, patch or (EDGE,) * dimension)


def _with_stages(spec: NetworkSpec, dimension: int, patch: Shape) -> tuple[Component, Shape]:
    grown, topology = pad_to_divisor(patch, (1.0,) * dimension)
    return spec(dimension, topology, USUAL_FEATURES), grown


def _deepmedic(dimension: int, patch: Shape | None) -> tuple[Component, Shape]:
    variant = VARIANTS["deepmedic"]
    largest = variant.candidates((EDGE,) * dimension, (1.0,) * dimension)[0]
    return variant.network(dimension, largest.topology, USUAL_FEATURES), patch or largest.patch


def _hyperdense(dimension: int, patch: Shape | None) -> tuple[Component, Shape]:
    largest = segments((EDGE,) * dimension, (1.0,) * dimension)[0]
    # The network does not pool: a patch of any size is read as it is.
    return hyperdense_spec(dimension, largest.topology, USUAL_FEATURES), patch or largest.patch


def _probabilistic(dimension: int, patch: Shape | None) -> tuple[Component, Shape]:
    spec = partial(probabilistic_unet_spec, labels=OUTPUTS - 1)
    return _with_stages(spec, dimension, patch or (EDGE,) * dimension)


def _forest(dimension: int, patch: Shape | None) -> tuple[Component, Shape]:
    return {"name": FOREST, "features": FEATURES}, patch or (EDGE,) * dimension


_PLANNED_APART: dict[str, Callable[[int, Shape | None], tuple[Component, Shape]]] = {
    "deepmedic": _deepmedic,
    "hyperdense": _hyperdense,
    "probabilistic_unet": _probabilistic,
    FOREST: _forest,
}
"""Networks whose class has no ``plans``: they have planners of their own."""
