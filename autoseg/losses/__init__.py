"""Losses by name."""

from __future__ import annotations

from autoseg.registry import Registry

losses: Registry = Registry("losses", modules=("autoseg.losses.dice_cross_entropy",))
