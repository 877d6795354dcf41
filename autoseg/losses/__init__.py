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
"""Functions of logits [B,outputs,*space] and label indices [B,*space].

Those of overlapping regions say ``activation = "sigmoid"`` and also take which regions were annotated, [B,outputs]."""

INVERSE_FREQUENCY = "inverse_frequency"
"""What a loss may say in place of its weights until the planner knows them."""
