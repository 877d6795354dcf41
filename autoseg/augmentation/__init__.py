"""Augmentation of batches, on the training device and in the loader."""

from autoseg.augmentation.pipeline import Augmentation, Parameters, build_augmentation

__all__ = ["Augmentation", "Parameters", "build_augmentation"]
