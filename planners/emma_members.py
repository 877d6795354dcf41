"""EMMA's members: which networks there are, what is each one's own, and how a user names them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.errors import PlanError
from autoseg.plan import Component
from autoseg.planners.base import PlanRequest
from autoseg.planners.emma_unets import unet_strided_spec, unet_sum_spec
from autoseg.planners.fcn import fcn_residual_spec, fcn_shallow_spec, fcn_spec
from autoseg.planners.fitting import NetworkSpec

NORMALIZATIONS: dict[str, Component] = {
    "z_score": {"name": "z_score"},
    "bias": {"name": "bias_field_z_score"},
    "nyul": {"name": "nyul_z_score", "bias_field": {}},
}
"""By how members are named: z-score; bias field, then z-score; bias field, Nyúl's landmarks, then z-score."""

_IN_BODY = 0
"""Channel that tells the body from what is all around it: the first, as in images without the skull."""
_CROSS_ENTROPY: Component = {"name": "cross_entropy"}
_SOFT_IOU: Component = {"name": "soft_iou", "background": True, "per_image": False}
_SOFT_DICE: Component = {"name": "f_beta", "beta": 1.0, "power": 2.0, "per_image": False}
"""V-Net's. Patches are small, so that classes are missing from many: as of nnU-Net's, the Dice is that of the batch."""
_ADAM: Component = {"name": "adam", "learning_rate": 1e-3}
"""The rate is Adam's own: the members' is not published."""
_DECAY: Component = {"name": "polynomial", "power": 0.9}
"""nnU-Net's: the members' is not published."""


@dataclass(frozen=True)
class Network:
    """A network of the ensemble and how it is trained."""

    name: str
    origin: str
    """What the paper calls it."""
    spec: NetworkSpec
    loss: Component
    sampling: Component
    edge: int
    """Voxels along the edge of its patches."""
    optimizer: Component
    schedule: Component


NETWORKS = (
    Network(
        name="fcn",
        origin="FCN-1",
        spec=fcn_spec,
        loss=_SOFT_IOU,
        sampling={"name": "equal_per_class"},
        edge=64,
        optimizer=_ADAM,
        schedule=_DECAY,
    ),
    Network(
        name="fcn_residual",
        origin="FCN-2",
        spec=fcn_residual_spec,
        loss=_SOFT_DICE,
        sampling={"name": "equal_per_class"},
        edge=80,
        optimizer=_ADAM,
        schedule=_DECAY,
    ),
    Network(
        name="fcn_shallow",
        origin="FCN-3",
        spec=fcn_shallow_spec,
        loss=_SOFT_DICE,
        sampling={"name": "equal_per_class"},
        edge=80,
        optimizer=_ADAM,
        schedule=_DECAY,
    ),
    Network(
        name="unet_sum",
        origin="U-Net-1",
        spec=unet_sum_spec,
        loss=_CROSS_ENTROPY,
        sampling={"name": "equal_per_class", "channel": _IN_BODY},
        edge=64,
        optimizer={"name": "adadelta", "learning_rate": 1.0},
        schedule=_DECAY,
    ),
    Network(
        name="unet_strided",
        origin="U-Net-2",
        spec=unet_strided_spec,
        loss=_CROSS_ENTROPY,
        sampling={"name": "equal_per_class", "channel": _IN_BODY},
        edge=64,
        optimizer=_ADAM,
        schedule=_DECAY,
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
        """As a user names it."""
        return f"{self.network.name}/{self.normalization}"

    def configuration(self, dimension: int) -> str:
        """Name its configuration, such as ``3d_unet_sum``, ``3d_unet_sum_bias``."""
        first = next(iter(NORMALIZATIONS))
        ending = "" if self.normalization == first else f"_{self.normalization}"
        return f"{dimension}d_{self.network.name}{ending}"


def chosen_members(request: PlanRequest, dimension: int, normalizations: Sequence[str]) -> list[Member]:
    """Return the members that a request names, in the order of training; all where it names none.

    ``members`` are networks, normalizations, or both as ``network/normalization``; ``configurations`` are those of
    members. Raises :class:`PlanError` that lists what there is at the first name that there is not.
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
        raise PlanError("members: none of those named is a configuration that is asked for; name one or the other")
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
