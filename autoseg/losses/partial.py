"""Training with cases in which only some classes are annotated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from autoseg.losses.deep_supervision import Loss

NEVER = -1e4
"""Logit of a class that is not annotated and is therefore merged with the background.

Its probability is 0 in single precision. Results stay finite, which they would not with −∞."""


@dataclass(frozen=True)
class Marginal:
    """The marginal form of any softmax loss (Shi et al., Medical Image Analysis 70, 2021, equation 3).

    If a class is not annotated in a sample, voxels with the label background may belong to that class. Therefore the
    probability of the class is added to that of the background before the loss is computed.
    """

    loss: Loss

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of logits [B,classes,*space] for label indices [B,*space].

        ``annotated`` [B,classes] marks the annotated classes of each sample, including the background; None means all.
        """
        if annotated is None:
            return self.loss(logits, target)
        return self.loss(merge_not_annotated(logits, annotated), hide_not_annotated(target, annotated))


def accepting_annotation(loss: Any) -> Loss:
    """Return a loss with the argument ``annotated``: the loss itself for regions, its marginal form for classes."""
    return loss if activation_of(loss) == "sigmoid" else Marginal(loss)


def activation_of(loss: Any) -> str:
    """Return the function that turns the logits of a loss into probabilities: ``softmax`` or ``sigmoid``."""
    activation: str = getattr(loss, "activation", "softmax")
    return activation


def merge_not_annotated(logits: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Return logits [B,classes,*space] in which classes that are not annotated are merged with the background."""
    together = ~annotated
    together[:, 0] = True
    # Work sample by sample, so that only the merged classes are copied.
    added = [sample[classes].float().logsumexp(0) for sample, classes in zip(logits.unbind(), together, strict=True)]
    hidden = together.reshape(*together.shape, *[1] * (logits.dim() - 2))
    merged = logits.float().masked_fill(hidden, NEVER)
    merged[:, 0] = torch.stack(added)
    return merged


def hide_not_annotated(target: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Set voxels of classes that are not annotated to background, in label indices [B,*space]; −1 stays."""
    classes = torch.arange(annotated.shape[1], device=target.device)
    # Index −1 reads the last entry of the table.
    table = torch.nn.functional.pad(torch.where(annotated, classes, 0), (0, 1), value=-1)
    sample = torch.arange(len(target), device=target.device).reshape(-1, *[1] * (target.dim() - 1))
    return table[sample, target]
