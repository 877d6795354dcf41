"""Hypotheses, that is several plausible label maps of an image, and the networks that produce them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice

import numpy as np
from torch import nn

from autoseg.errors import PlanError
from autoseg.inference.members import Member
from autoseg.networks.protocols import hypothesis_of

SEED = 0
"""Seed of all hypotheses. The same call produces the same label maps; a larger ``count`` only adds maps at the end."""


@dataclass(frozen=True)
class NumberedNetwork:
    """A network that produces the hypothesis with one number, for every image."""

    number: int
    """Number of the hypothesis, from 1."""
    member: Member
    """The ensemble member that contains the network."""
    alone: Member
    """A copy of the member that contains only this network."""


def hypothesis_networks(members: Sequence[Member], count: int) -> tuple[NumberedNetwork, ...]:
    """Return the networks of hypotheses 1 to ``count``.

    The hypotheses cycle through the networks of all members and are not averaged over networks: separately trained
    networks have latent variables with different meanings, so that their mean would be no plausible map. A network with
    a latent variable produces a new map in each cycle; the noise depends only on the number. A network without latent
    variable produces its map in the first cycle only.

    Raises :class:`PlanError` if the networks produce fewer than ``count`` hypotheses.
    """
    every = [(member, network) for member in members for network in member.networks]
    with_latent = [(member, network) for member, network in every if hypothesis_of(network)]
    if count < 0:
        raise PlanError(f"hypotheses: found {count}, expected a number above 0, or 0 for none")
    if not with_latent and count > (len(every) if len(every) > 1 else 0):
        names = ", ".join(member.name for member in members)
        fewer = f"at most {len(every)}, one of each network" if len(every) > 1 else "0 for a single network"
        raise PlanError(
            f"hypotheses: found {count}, expected {fewer}, because the networks of {names} have no latent variable; "
            "plan with '--planner probabilistic_unet', whose networks produce any number, and train again"
        )
    order = islice(chain(every, cycle(with_latent)), count)
    return tuple(
        NumberedNetwork(number, member, _alone(member, network, number))
        for number, (member, network) in enumerate(order, 1)
    )


def _alone(member: Member, network: nn.Module, number: int) -> Member:
    hypothesis = hypothesis_of(network)
    if hypothesis is None:
        return replace(member, networks=(network,))
    # The same latent value can mean left in an image and right in its mirrored copy, so their mean would mix both.
    settings = replace(member.tiling, mirror_axes=())
    return replace(member, networks=(hypothesis(np.random.default_rng([SEED, number])).eval(),), tiling=settings)
