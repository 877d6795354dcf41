"""Augmentation of batches, on the training device and in the loader."""

from autoseg.augmentation.pipeline import Augmentation, Parameters, build_augmentation
from autoseg.augmentation.settings import AugmentationSettings, presets, settings_from

__all__ = ["Augmentation", "AugmentationSettings", "Parameters", "build_augmentation", "presets", "settings_from"]
