"""Planners of DeepMedic and its variants (Kamnitsas et al. 2017; thesis, 2019, sections 3.2 to 3.5 and 4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import Fingerprint
from autoseg.networks.planning import Topology
from autoseg.plan.schema import Configuration, Decision, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.family import Family
from autoseg.planners.patches import Candidate
from autoseg.planners.recipe import published
from autoseg.planners.sampling import Sampled
from autoseg.planners.topology import SPACING_RATIO
from autoseg.registry import Component
from autoseg.system.units import times

FEATURES = (30, 30, 40, 40, 40, 40, 50, 50)
HIDDEN = (150, 150)
WIDE = tuple(2 * width for width in FEATURES)
RESIDUAL = (4, 6, 8)
"""Layers with residual connections, from the authors' public configurations; the thesis does not list them."""
LEAN = tuple(width // 2 for width in FEATURES)
"""Features of a cheaper coarse pathway: half of the usual features, because the thesis does not give the numbers."""
ITERATIONS = 70_000
"""Steps of the authors' public configurations: 35 epochs of 20,000 segments, with 10 segments per batch."""
PENALTY = {2: 1e-6, 3: 1e-4}
"""Factor of the sum of squared weights in the loss, by dimension; the equivalent weight decay is twice as large."""
IN_3D, IN_2D = ("2d", "3d_fullres"), ("2d",)


@dataclass(frozen=True)
class Variant:
    """A published network with its segments and batches; those of three pathways are not published.

    The networks with a single pathway have batch normalization and He initialization; the thesis marks them with a
    plus. Without both, the deep network learned nothing.
    """

    features: tuple[int, ...] = FEATURES
    hidden: tuple[int, ...] = HIDDEN
    factors: tuple[int, ...] = (1, 3)
    kernel: int = 3
    residual: tuple[int, ...] = ()
    coarse_features: tuple[int, ...] | None = None
    learned: int = 9
    """Edge of the output of a segment, in voxels."""
    samples: tuple[int, int] = (250, 10)
    """Samples of a batch, in 2D and 3D."""
    configurations: tuple[str, ...] = IN_3D

    def candidates(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[Candidate]:
        """List segments from the published size down to one output voxel of the coarsest pathway.

        An axis with at least twice the spacing of the finest axis has kernels of 1 in the first half of the layers; an
        axis with at least four times the spacing in the first three quarters. The downsampling factor of the coarse
        pathways is reduced in the same proportion along such an axis.
        """
        full = [self._full_layers(s / min(spacing)) for s in spacing]
        axes = [self._axis(layers) for layers in full]
        kernels = tuple(zip(*(axis.kernels for axis in axes), strict=True))
        topology = Topology(((1,) * len(shape),) * len(kernels), kernels)
        margin = tuple(axis.margin for axis in axes)
        whole = [-(-n // axis.divisor) for n, axis in zip(shape, axes, strict=True)]
        coarsest = max(axis.divisor for axis in axes)
        found: dict[tuple[int, ...], Candidate] = {}
        for edge in range(max(coarsest, self.learned), 0, -coarsest):
            wanted = [edge * n // len(self.features) // axis.divisor for n, axis in zip(full, axes, strict=True)]
            steps = (min(most, max(1, n)) for most, n in zip(whole, wanted, strict=True))
            learned = tuple(axis.divisor * n for axis, n in zip(axes, steps, strict=True))
            patch = tuple(n + 2 * m for n, m in zip(learned, margin, strict=True))
            origin = f"its output is {times(learned)}, with a margin of {times(margin)} on each side"
            found.setdefault(patch, Candidate(patch, topology, origin, margin))
        return list(found.values())

    def network(self, dimension: int, topology: Topology, first_features: int) -> Component:
        """Return the network's spec: the published features for 32 ``first_features``, scaled for other values."""
        layers = len(topology.kernels)
        full = [sum(kernel[axis] > 1 for kernel in topology.kernels) for axis in range(dimension)]
        spec: Component = {
            "name": "deepmedic",
            "features": _scaled(self.features, first_features),
            "kernels": [list(kernel) for kernel in topology.kernels],
            "factors": [[_lowered(factor, n, layers) for n in full] for factor in self.factors],
            "hidden": _scaled(self.hidden, first_features),
        }
        if self.coarse_features is not None:
            spec["coarse_features"] = _scaled(self.coarse_features, first_features)
        if self.residual:
            spec["residual"] = list(self.residual)
        return spec

    def _full_layers(self, ratio: float) -> int:
        """Count the layers with full kernels along an axis; ``ratio`` is its spacing relative to the finest axis."""
        halvings = int(math.log(ratio, SPACING_RATIO) + 1e-9)
        return max(1, len(self.features) // 2**halvings)

    def _axis(self, full: int) -> _Axis:
        layers = len(self.features)
        factors = [_lowered(factor, full, layers) for factor in self.factors]
        kernels = (1,) * (layers - full) + (self.kernel,) * full
        return _Axis(kernels, full * (self.kernel // 2) * max(factors), math.lcm(*factors))


@dataclass(frozen=True)
class _Axis:
    """Kernels, margin and divisor of a network along one axis."""

    kernels: tuple[int, ...]
    margin: int
    divisor: int


VARIANTS = {
    "deepmedic": Variant(),
    "deepmedic_shallow": Variant((30, 40, 40, 50), (), factors=(1,), kernel=5),
    "deepmedic_deep": Variant(hidden=(), factors=(1,)),
    "deepmedic_big": Variant(WIDE, factors=(1,)),
    "deepmedic_lean": Variant(coarse_features=LEAN),
    "deepmedic_three": Variant(factors=(1, 3, 5), learned=15),
    "deepmedic_residual": Variant(residual=RESIDUAL),
    "deepmedic_wide": Variant(WIDE, (300, 300), residual=RESIDUAL, learned=18),
    "deepmedic_2d_wider": Variant(WIDE, (200, 200), samples=(100, 10), configurations=IN_2D),
    "deepmedic_2d_deeper": Variant(
        (30, 31, 33, 34, 35, 37, 38, 39, 41, 42, 43, 45, 46, 47, 49, 50), samples=(100, 10), configurations=IN_2D
    ),
    "deepmedic_2d_large": Variant(
        (45, 48, 51, 55, 58, 61, 64, 67, 70, 74, 77, 80), (200, 200), samples=(100, 10), configurations=IN_2D
    ),
}
"""Variants by planner name. The 2D networks are from section 3.3.5 of the thesis: 16 layers of 30 to 50 features, and
12 layers of 45 to 80 features."""


def plan_deepmedic(request: PlanRequest, *, planner: str) -> Plan:
    """Plan networks of a variant, with the published segments and batches if memory and time allow.

    The coarse pathway provides the context for which other families plan ``3d_lowres``; this configuration is planned
    only on request.
    """
    variant = VARIANTS[planner]
    return plan_with(request, planner, variant.network, family_of(variant))


def family_of(variant: Variant) -> Family:
    """Return the planning rules of a variant that differ from nnU-Net's."""
    return Family(
        patches=variant.candidates,
        sampling=half_and_half,
        revise=recipe,
        configurations=variant.configurations,
        most_samples=dict(zip((2, 3), variant.samples, strict=True)),
    )


for _name in VARIANTS:
    planners.register(_name)(partial(plan_deepmedic, planner=_name))


def half_and_half(dataset: Dataset, fingerprint: Fingerprint) -> Sampled:
    """Center half of the segments in the foreground, the other half in the background inside the body."""
    reason = "published rule: classes keep their relative frequencies"
    decision = Decision(
        "data", "half of the segments are centered in the foreground, half in the background", (reason,)
    )
    return Sampled({"name": "half", "channel": 0}, decision)


def recipe(draft: Configuration) -> Configuration:
    """Set cross-entropy, and RMSProp with Nesterov momentum; the rate is halved when validation no longer improves.

    The published L2 penalty is set as weight decay. The published L1 penalty (1e-6 times the sum of absolute weights)
    is left out.
    """
    optimizer: Component = {"name": "rmsprop", "learning_rate": 1e-3, "momentum": 0.6}
    optimizer["weight_decay"] = 2 * PENALTY[draft.dimension]
    schedule: Component = {"name": "plateau", "factor": 0.5}
    return published(
        draft, loss={"name": "cross_entropy"}, optimizer=optimizer, iterations=ITERATIONS, schedule=schedule
    )


def _lowered(factor: int, full: int, layers: int) -> int:
    """Return the factor of a pathway along an axis, reduced to the share of its layers with full kernels there."""
    return max(1, factor * full // layers)


def _scaled(widths: tuple[int, ...], first_features: int) -> list[int]:
    return [max(1, width * first_features // 32) for width in widths]
