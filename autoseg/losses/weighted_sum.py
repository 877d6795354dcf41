"""A sum of losses, each with its weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from autoseg.errors import PlanError
from autoseg.losses import losses
from autoseg.losses.deep_supervision import Loss
from autoseg.losses.partial import activation_of
from autoseg.registry import Positive


@dataclass(frozen=True)
class WeightedSum:
    """The sum of ``parts`` times ``weights``; see :func:`weighted_sum`."""

    parts: tuple[Loss, ...]
    weights: tuple[float, ...]

    @property
    def activation(self) -> str:
        """Function that turns logits into probabilities, the same for all parts."""
        return activation_of(self.parts[0])

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        more = () if annotated is None else (annotated,)
        terms = [weight * part(logits, target, *more) for part, weight in zip(self.parts, self.weights, strict=True)]
        return torch.stack(terms).sum()


@losses.register("sum")
def weighted_sum(*, of: list[dict[str, Any]]) -> WeightedSum:
    """Build the sum of losses, each ``{"name": …, "weight": …, **arguments}``; the default weight is 1.

    Raises :class:`PlanError` if the list is empty, if a loss cannot be built, or if the list mixes losses for regions
    with losses for classes.
    """
    if not of:
        raise PlanError("losses 'sum', argument 'of': found no losses, expected at least one")
    parts = tuple(_part(spec, f"losses 'sum', argument 'of[{place}]'") for place, spec in enumerate(of))
    kinds = [activation_of(part) for part in parts]
    if len(set(kinds)) > 1:
        other = next(place for place, kind in enumerate(kinds) if kind != kinds[0])
        words = {"softmax": "classes", "sigmoid": "regions"}
        raise PlanError(
            f"losses 'sum', argument 'of[{other}]': found a loss for {words[kinds[other]]}, expected a loss for "
            f"{words[kinds[0]]}, as in of[0]; set 'regions' for all losses or for none"
        )
    return WeightedSum(parts, tuple(float(spec.get("weight", 1.0)) for spec in of))


def _part(spec: Mapping[str, Any], place: str) -> Loss:
    """Build one of the losses; ``place`` is the beginning of the message of a :class:`PlanError`."""
    try:
        TypeAdapter(Positive).validate_python(spec.get("weight", 1.0), strict=True)
        part: Loss = losses.build({key: value for key, value in spec.items() if key != "weight"})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
        raise PlanError(f"{place}.weight: found {spec['weight']!r}: {reason}") from None
    except PlanError as error:
        raise PlanError(f"{place}: {error}") from None
    return part
