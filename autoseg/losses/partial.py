"""Learning from cases in which only some of the classes were annotated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from autoseg.losses.deep_supervision import Loss

NEVER = -1e4
"""Logit of a class that cannot be told from the background: its probability is 0 in single precision, and what is
computed of it stays finite, as it would not with −∞."""


@dataclass(frozen=True)
class Marginal:
    """Any loss of softmax outputs as the marginal loss (Shi et al., Medical Image Analysis 70, 2021, equation 3).

    A voxel called background, in a sample in which a class was not annotated, may be that class: the probabilities of
    the two are added, and the loss sees them as one, the background's.
    """

    loss: Loss

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of logits [B,classes,*space] against label indices [B,*space].

        ``annotated`` [B,classes] tells which classes, the background among them, were annotated; None: all.
        """
        if annotated is None:
            return self.loss(logits, target)
        return self.loss(merge_not_annotated(logits, annotated), hide_not_annotated(target, annotated))


def accepting_annotation(loss: Any) -> Loss:
    """Return a loss that also takes what was annotated: itself where its outputs are regions, else the marginal one."""
    return loss if activation_of(loss) == "sigmoid" else Marginal(loss)


def activation_of(loss: Any) -> str:
    """Return what turns the logits that a loss takes into probabilities."""
    activation: str = getattr(loss, "activation", "softmax")
    return activation


def merge_not_annotated(logits: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Add the probabilities of classes that were not annotated to the background's, as logits [B,classes,*space]."""
    together = ~annotated
    together[:, 0] = True
    # Sample by sample, so that only what is added is copied for it.
    added = [sample[classes].float().logsumexp(0) for sample, classes in zip(logits.unbind(), together, strict=True)]
    hidden = together.reshape(*together.shape, *[1] * (logits.dim() - 2))
    merged = logits.float().masked_fill(hidden, NEVER)
    merged[:, 0] = torch.stack(added)
    return merged


def hide_not_annotated(target: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Call background the voxels, in label indices [B,*space], of classes that were not annotated; −1 stays."""
    classes = torch.arange(annotated.shape[1], device=target.device)
    # The last entry is the one that −1 is looked up in.
    table = torch.nn.functional.pad(torch.where(annotated, classes, 0), (0, 1), value=-1)
    sample = torch.arange(len(target), device=target.device).reshape(-1, *[1] * (target.dim() - 1))
    return table[sample, target]
