"""Augmentation by name."""

from __future__ import annotations

from autoseg.augmentation.blur import Blur
from autoseg.augmentation.contrast import Brightness, Contrast
from autoseg.augmentation.gamma import Gamma
from autoseg.augmentation.low_resolution import LowResolution
from autoseg.augmentation.noise import Noise
from autoseg.augmentation.settings import AugmentationSettings, Mirror, presets
from autoseg.augmentation.spatial import Rotation, Scaling


@presets.register("default")
def default() -> AugmentationSettings:
    """Take nnU-Net's transforms with its probabilities and ranges."""
    return AugmentationSettings()


@presets.register("light")
def light() -> AugmentationSettings:
    """Half as often as the default: where training is too short to see what most samples look like unchanged."""
    return AugmentationSettings(
        rotation=Rotation(0.1),
        scaling=Scaling(0.1),
        noise=Noise(0.05),
        blur=Blur(0.1),
        brightness=Brightness(0.08),
        contrast=Contrast(0.08),
        low_resolution=LowResolution(0.12),
        gamma_inverted=Gamma(0.05, inverted=True),
        gamma=Gamma(0.15),
    )


@presets.register("strong")
def strong() -> AugmentationSettings:
    """Rotate twice as often as the default, and let batchgenerators' long tail run in the loader."""
    return AugmentationSettings(
        rotation=Rotation(0.4),
        loader=(
            {"name": "RicianNoiseTransform", "noise_variance": [0.0, 0.1], "p_per_sample": 0.1},
            {"name": "MedianFilterTransform", "filter_size": [2, 5], "p_per_sample": 0.1, "p_per_channel": 0.5},
            {"name": "SharpeningTransform", "strength": [0.1, 1.0], "p_per_sample": 0.1, "p_per_channel": 0.5},
            {
                "name": "BrightnessGradientAdditiveTransform",
                "scale": [10.0, 60.0],
                "max_strength": [-0.7, 0.7],
                "p_per_sample": 0.15,
                "p_per_channel": 0.5,
            },
            {
                "name": "LocalGammaTransform",
                "scale": [10.0, 60.0],
                "gamma": [0.6, 1.6],
                "p_per_sample": 0.15,
                "p_per_channel": 0.5,
            },
            {
                "name": "BlankRectangleTransform",
                "rectangle_size": [[3, 12]] * 3,
                "rectangle_value": [-1.0, 1.0],
                "num_rectangles": [1, 4],
                "force_square": True,
                "p_per_sample": 0.15,
                "p_per_channel": 0.5,
            },
        ),
    )


@presets.register("none")
def none() -> AugmentationSettings:
    """Change nothing."""
    return AugmentationSettings(
        rotation=Rotation(0),
        scaling=Scaling(0),
        noise=Noise(0),
        blur=Blur(0),
        brightness=Brightness(0),
        contrast=Contrast(0),
        low_resolution=LowResolution(0),
        gamma_inverted=Gamma(0, inverted=True),
        gamma=Gamma(0),
        mirror=Mirror(0),
    )
