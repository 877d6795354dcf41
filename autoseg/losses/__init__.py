"""Losses by name."""

from __future__ import annotations

from autoseg.registry import Registry

losses: Registry = Registry(
    "losses",
    modules=(
        "autoseg.losses.dice_cross_entropy",
        "autoseg.losses.dice_binary_cross_entropy",
        "autoseg.losses.cross_entropy",
        "autoseg.losses.top_k_cross_entropy",
        "autoseg.losses.focal",
        "autoseg.losses.lp",
        "autoseg.losses.f_beta",
        "autoseg.losses.soft_iou",
        "autoseg.losses.tversky",
        "autoseg.losses.mcc",
        "autoseg.losses.weighted_sum",
    ),
)
"""Losses are functions of logits [B,outputs,*space] and label indices [B,*space].

Losses for overlapping regions declare ``activation = "sigmoid"``. They accept a third argument: a mask [B,outputs] of
the annotated regions."""

INVERSE_FREQUENCY = "inverse_frequency"
"""Placeholder for the class weights of a loss; the planner replaces it by numbers."""
