"""Several plausible label maps of an image: which network gives which of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice

import numpy as np
from torch import nn

from autoseg.errors import PlanError
from autoseg.inference.members import Member
from autoseg.networks.own_ways import hypothesis_of

SEED = 0
"""Of all hypotheses: the same call writes the same maps, and one that asks for more begins with the same ones."""


@dataclass(frozen=True)
class NumberedNetwork:
    """A network that gives one hypothesis of any image, the same number being alike in all of them."""

    number: int
    """From 1."""
    member: Member
    """Whose network it is."""
    alone: Member
    """The member with nothing but this network."""


def hypothesis_networks(members: Sequence[Member], count: int) -> tuple[NumberedNetwork, ...]:
    """Return the networks of hypotheses 1 to ``count``.

    They go round the networks of all members, since latent variables of networks that were trained apart mean
    different things: of the mean over such networks none of their maps would be left. One with a latent variable gives
    a map of its own in each round, at noise which the number alone decides; one without gives its map in the first.

    Raises :class:`PlanError` where the networks do not have so many.
    """
    every = [(member, network) for member in members for network in member.networks]
    with_latent = [(member, network) for member, network in every if hypothesis_of(network)]
    if count < 0:
        raise PlanError(f"hypotheses: found {count}, expected a number above 0, or 0 for none")
    if not with_latent and count > (len(every) if len(every) > 1 else 0):
        names = ", ".join(member.name for member in members)
        fewer = f"at most {len(every)}, one of each network" if len(every) > 1 else "none of a single network"
        raise PlanError(
            f"hypotheses: found {count}, expected {fewer}, since those of {names} have no latent variable; plan with "
            "'--planner probabilistic_unet', whose networks give as many as are wanted, and train"
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
    # The same value of a latent variable may say left in an image and right in its mirrored copy: their mean says both.
    window = replace(member.window, mirror_axes=())
    return replace(member, networks=(hypothesis(np.random.default_rng([SEED, number])).eval(),), window=window)
