"""Members of EMMA: the networks, how each is trained, and their names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from autoseg.errors import PlanError
from autoseg.networks.emma_unets import unet_strided_spec, unet_sum_spec
from autoseg.networks.fcn import fcn_residual_spec, fcn_shallow_spec, fcn_spec
from autoseg.networks.planning import NetworkSpec
from autoseg.plan.schema import Decision
from autoseg.planners.base import PlanRequest
from autoseg.planners.deepmedic import ITERATIONS, VARIANTS, family_of
from autoseg.planners.family import Family
from autoseg.planners.patches import candidates
from autoseg.planners.recipe import published
from autoseg.planners.sampling import Sampled
from autoseg.registry import Component

NORMALIZATIONS: dict[str, Component] = {
    "z_score": {"name": "z_score"},
    "bias": {"name": "bias_field_z_score"},
    "nyul": {"name": "nyul_z_score", "bias_field": {}},
}
"""Normalizations by their names in members: z-score; bias field, then z-score; bias field, Nyúl landmarks, z-score."""

MOST_SAMPLES = {2: 250, 3: 10}
"""Largest batch by dimension, from DeepMedic; the batch sizes of the other members are not published."""
_IN_BODY = 0
"""Channel that separates the body from the outside: the first, as in skull-stripped images."""
_CROSS_ENTROPY: Component = {"name": "cross_entropy"}
_SOFT_IOU: Component = {"name": "soft_iou", "background": True, "per_image": False}
_SOFT_DICE: Component = {"name": "f_beta", "beta": 1.0, "power": 2.0, "per_image": False}
"""The Dice loss of V-Net. Small patches often miss classes: the Dice is computed over the batch, as in nnU-Net."""
_ADAM: Component = {"name": "adam", "learning_rate": 1e-3}
"""The learning rate is the default of the Adam paper; EMMA publishes neither learning rates nor schedules."""
_ADADELTA: Component = {"name": "adadelta", "learning_rate": 1.0}
_EVERY_LABEL: Component = {"name": "equal_per_class"}
_EVERY_LABEL_IN_BODY: Component = {"name": "equal_per_class", "channel": _IN_BODY}


@dataclass(frozen=True)
class Network:
    """A network of the ensemble and how it is trained."""

    name: str
    origin: str
    """Name in the thesis."""
    spec: NetworkSpec
    family: Family


def _trained(*, edge: int, loss: Component, sampling: Component, optimizer: Component) -> Family:
    """Return a family with patches of up to ``edge`` voxels per axis, and a loss, sampler and optimizer."""
    decision = Decision("data", f"patches by {sampling['name']}", ("as published",))
    # The length of training is not published: use DeepMedic's.
    return Family(
        patches=partial(candidates, largest_edge=edge),
        sampling=lambda dataset, fingerprint: Sampled(sampling, decision),
        revise=partial(published, loss=loss, optimizer=optimizer, iterations=ITERATIONS),
        most_samples=MOST_SAMPLES,
    )


def _deepmedic(name: str, origin: str) -> Network:
    return Network(name, origin, VARIANTS[name].network, family_of(VARIANTS[name]))


NETWORKS = (
    _deepmedic("deepmedic_residual", "DeepMedic with residual connections"),
    _deepmedic("deepmedic_wide", "wide DeepMedic with residual connections"),
    Network("fcn", "FCN-1", fcn_spec, _trained(edge=64, loss=_SOFT_IOU, sampling=_EVERY_LABEL, optimizer=_ADAM)),
    Network(
        "fcn_residual",
        "FCN-2",
        fcn_residual_spec,
        _trained(edge=80, loss=_SOFT_DICE, sampling=_EVERY_LABEL, optimizer=_ADAM),
    ),
    Network(
        "fcn_shallow",
        "FCN-3",
        fcn_shallow_spec,
        _trained(edge=80, loss=_SOFT_DICE, sampling=_EVERY_LABEL, optimizer=_ADAM),
    ),
    Network(
        "unet_sum",
        "U-Net-1",
        unet_sum_spec,
        _trained(edge=64, loss=_CROSS_ENTROPY, sampling=_EVERY_LABEL_IN_BODY, optimizer=_ADADELTA),
    ),
    Network(
        "unet_strided",
        "U-Net-2",
        unet_strided_spec,
        _trained(edge=64, loss=_CROSS_ENTROPY, sampling=_EVERY_LABEL_IN_BODY, optimizer=_ADAM),
    ),
)
"""In the order in which they are trained."""


@dataclass(frozen=True)
class Member:
    """A network with a normalization."""

    network: Network
    normalization: str

    @property
    def name(self) -> str:
        """Name for users, such as ``unet_sum/bias``."""
        return f"{self.network.name}/{self.normalization}"

    def configuration(self, dimension: int) -> str:
        """Return the name of its configuration, such as ``3d_unet_sum`` or ``3d_unet_sum_bias``."""
        first = next(iter(NORMALIZATIONS))
        ending = "" if self.normalization == first else f"_{self.normalization}"
        return f"{dimension}d_{self.network.name}{ending}"


def chosen_members(request: PlanRequest, dimension: int, normalizations: Sequence[str]) -> list[Member]:
    """Return the requested members in the order of training; all members by default.

    ``members`` are networks, normalizations, or both as ``network/normalization``; ``configurations`` are the
    configuration names of members. Raises :class:`PlanError` with the valid names if a name is unknown.
    """
    every = [Member(network, name) for name in normalizations for network in NETWORKS]
    chosen = every
    if request.members:
        _check_members(request.members, every)
        wanted = set(request.members)
        chosen = [m for m in every if wanted & {m.name, m.network.name, m.normalization}]
    if request.configurations:
        _check_configurations(request.configurations, [member.configuration(dimension) for member in every])
        chosen = [member for member in chosen if member.configuration(dimension) in request.configurations]
    if not chosen:
        raise PlanError("members: none of them is among the requested configurations; use only one of the two options")
    return chosen


def _check_members(names: Sequence[str], every: Sequence[Member]) -> None:
    networks = dict.fromkeys(member.network.name for member in every)
    normalizations = dict.fromkeys(member.normalization for member in every)
    for name in names:
        if name not in {*networks, *normalizations, *(member.name for member in every)}:
            near = difflib.get_close_matches(name, [*networks, *normalizations, *(m.name for m in every)], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise PlanError(
                f"members: found '{name}'{hint}, expected networks ({', '.join(networks)}), normalizations of this "
                f"dataset ({', '.join(normalizations)}), or one of each, such as {every[0].name}"
            )


def _check_configurations(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PlanError(f"configuration '{unknown[0]}': expected one of {', '.join(known)}")
