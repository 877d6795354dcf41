"""Which members of an ensemble have a say: those that are not far behind the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Names = tuple[str, ...]


@dataclass(frozen=True)
class Admission:
    """Who was admitted to an ensemble, and who was not and why."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    within: float
    """Mean Dice by which a member may be behind the best one."""
    admitted: Names
    """The best first."""
    left_out: dict[str, str]


def admit(dice: Mapping[str, float | None], within: float, *, not_compared: Names = ()) -> Admission:
    """Admit every member whose mean Dice, alone, is at most ``within`` below that of the best one.

    That is the ε of EMMA (Kamnitsas, thesis, section 4.3.4): all members that are about as good as each other are kept,
    and weigh the same; picking the best few of them would be the tuning that it does without. A member of
    undefined Dice is left out, unless that of all is. ``not_compared`` are members whose folds are not all trained.
    """
    known = {name: value for name, value in dice.items() if value is not None}
    best = max(known.values(), default=0.0)
    admitted = sorted((name for name in known if known[name] >= best - within), key=lambda name: -known[name])
    left_out = {
        name: f"mean Dice {value:.4f} is {best - value:.4f} below the best, more than {within:g}"
        for name, value in known.items()
        if name not in admitted
    }
    if known:
        left_out |= dict.fromkeys((name for name in dice if name not in known), "its Dice is defined on no case")
    left_out |= dict.fromkeys(not_compared, "other or fewer folds are trained than of the others")
    return Admission(within, tuple(admitted) or tuple(dice), left_out)


def ensembles_of(admission: Admission, names: Names) -> dict[Names, str]:
    """Return the ensembles that are tried beside single members, and what they are: what fewer or all would reach.

    However many members there are, these are as few as their number can be halved.
    """
    admitted = admission.admitted
    tried = [(admitted, "admitted"), (names, "all")]
    count = len(admitted)
    while (count := count // 2) > 1:
        tried.append((admitted[:count], f"the best {count}"))
    found: dict[Names, str] = {}
    for members, what in tried:
        if len(members) > 1 and not any(set(members) == set(others) for others in found):
            found[members] = what
    return found
