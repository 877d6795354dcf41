"""The planners of DeepMedic and its relatives (Kamnitsas et al. 2017; thesis, 2019, sections 3.2 to 3.5 and 4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Component, Configuration, Decision, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.family import Family
from autoseg.planners.patches import Candidate
from autoseg.planners.recipe import published
from autoseg.planners.sampling import Sampled
from autoseg.planners.topology import SPACING_RATIO, Topology
from autoseg.planners.wording import times

FEATURES = (30, 30, 40, 40, 40, 40, 50, 50)
HIDDEN = (150, 150)
WIDE = tuple(2 * width for width in FEATURES)
RESIDUAL = (4, 6, 8)
"""Layers with residual connections; the thesis does not say which, the authors' public configurations do."""
LEAN = tuple(width // 2 for width in FEATURES)
"""Features of a low resolution that is to cost less; the thesis does not give those that it had: half of the others."""
ITERATIONS = 70_000
"""Of the authors' public configurations: 35 epochs of 20,000 segments, ten in a batch."""
PENALTY = {2: 1e-6, 3: 1e-4}
"""Of the sum of squared weights, beside the cross-entropy; its gradient is twice as much of each weight."""
IN_3D, IN_2D = ("2d", "3d_fullres"), ("2d",)


@dataclass(frozen=True)
class Variant:
    """A published network with its segments and batches; those of three pathways are no publication's.

    The single paths are those with batch normalization and He's initialization, which the thesis marks with a plus:
    without these the deep one learned nothing.
    """

    features: tuple[int, ...] = FEATURES
    hidden: tuple[int, ...] = HIDDEN
    factors: tuple[int, ...] = (1, 3)
    kernel: int = 3
    residual: tuple[int, ...] = ()
    coarse_features: tuple[int, ...] | None = None
    learned: int = 9
    """Edge of what is learned of a segment, in voxels."""
    samples: tuple[int, int] = (250, 10)
    """In a batch, in 2D and 3D."""
    configurations: tuple[str, ...] = IN_3D

    def candidates(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[Candidate]:
        """List segments from the published one to one of a single voxel of the coarsest pathway.

        An axis that is twice as coarse as the finest or more has kernels of 1 in the first half of the layers, one
        four times as coarse in three quarters, and the coarse pathways are coarser along it only by as much less.
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
            origin = f"{times(learned)} of it are learned, with {times(margin)} beside them on each side"
            found.setdefault(patch, Candidate(patch, topology, origin, margin))
        return list(found.values())

    def network(self, dimension: int, topology: Topology, first_features: int) -> Component:
        """Describe the network: the published features where nnU-Net begins with 32."""
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
        """Count the layers that see along an axis whose voxels are ``ratio`` times as long as the shortest."""
        halvings = int(math.log(ratio, SPACING_RATIO) + 1e-9)
        return max(1, len(self.features) // 2**halvings)

    def _axis(self, full: int) -> _Axis:
        layers = len(self.features)
        factors = [_lowered(factor, full, layers) for factor in self.factors]
        kernels = (1,) * (layers - full) + (self.kernel,) * full
        return _Axis(kernels, full * (self.kernel // 2) * max(factors), math.lcm(*factors))


@dataclass(frozen=True)
class _Axis:
    """What a network has along one axis."""

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
"""By planner. The thesis' section 3.3.5 has the 2D networks: 16 layers of 30 to 50 features, 12 of 45 to 80."""


def plan_deepmedic(request: PlanRequest, *, planner: str) -> Plan:
    """Plan networks of a variant, with the published segments and batches where memory and time allow them.

    The coarse pathway has the context for which other families plan ``3d_lowres``; that is planned when asked for.
    """
    variant = VARIANTS[planner]
    return plan_with(request, planner, variant.network, family_of(variant))


def family_of(variant: Variant) -> Family:
    """Return what a variant wants otherwise than nnU-Net's rules have it."""
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
    """Centre half of the segments in the foreground, the others in the body's background."""
    reason = "the published rule: classes keep their proportions to each other"
    decision = Decision("data", "half of the segments are centred in the foreground, half in the background", (reason,))
    return Sampled({"name": "half", "channel": 0}, decision)


def recipe(draft: Configuration) -> Configuration:
    """Give a draft plain cross-entropy and RMSProp with Nesterov's momentum, halved when validation no longer improves.

    The published penalty of 1e-6 of the sum of the weights' magnitudes is left out beside that of their squares, which
    is weight decay.
    """
    optimizer: Component = {"name": "rmsprop", "learning_rate": 1e-3, "momentum": 0.6}
    optimizer["weight_decay"] = 2 * PENALTY[draft.dimension]
    schedule: Component = {"name": "plateau", "factor": 0.5}
    return published(
        draft, loss={"name": "cross_entropy"}, optimizer=optimizer, iterations=ITERATIONS, schedule=schedule
    )


def _lowered(factor: int, full: int, layers: int) -> int:
    """Return the factor of a pathway along an axis where only ``full`` of its layers see: less by as much."""
    return max(1, factor * full // layers)


def _scaled(widths: tuple[int, ...], first_features: int) -> list[int]:
    return [max(1, width * first_features // 32) for width in widths]
