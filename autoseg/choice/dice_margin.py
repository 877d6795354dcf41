"""Select ensemble members whose Dice is within a margin of the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Names = tuple[str, ...]


@dataclass(frozen=True)
class Admission:
    """The admitted members of an ensemble, and the other members with the reason."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    within: float
    """Maximum difference of mean Dice between a member and the best one."""
    admitted: Names
    """Admitted members, the best first."""
    left_out: dict[str, str]


def admit(dice: Mapping[str, float | None], within: float, *, not_compared: Names = ()) -> Admission:
    """Admit every member whose mean Dice, alone, is at most ``within`` below that of the best one.

    This is the ε of EMMA (Kamnitsas, thesis, section 4.3.4): all members of similar Dice are kept with equal weights.
    EMMA avoids tuning, so it does not select only the best few members. A member of undefined Dice is left out, except
    if the Dice of all members is undefined. ``not_compared`` are members whose folds are not all trained.
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
        left_out |= dict.fromkeys((name for name in dice if name not in known), "its Dice is not defined for any case")
    left_out |= dict.fromkeys(not_compared, "its trained folds differ from those of the others")
    return Admission(within, tuple(admitted) or tuple(dice), left_out)


def ensembles_of(dice_margin: Admission, names: Names) -> dict[Names, str]:
    """Return the ensembles to evaluate in addition to single members, with a description of each.

    They are the admitted members, all members, and the best half, quarter and so on of the admitted members. Their
    number grows only with the logarithm of the number of members.
    """
    admitted = dice_margin.admitted
    tried = [(admitted, "admitted"), (names, "all")]
    count = len(admitted)
    while (count := count // 2) > 1:
        tried.append((admitted[:count], f"the best {count}"))
    found: dict[Names, str] = {}
    for members, what in tried:
        if len(members) > 1 and not any(set(members) == set(others) for others in found):
            found[members] = what
    return found
