"""Augmentation by name."""

from __future__ import annotations

from typing import Any

from autoseg.augmentation.blur import Blur
from autoseg.augmentation.brightness import Brightness
from autoseg.augmentation.component_removal import ComponentRemoval
from autoseg.augmentation.contrast import Contrast
from autoseg.augmentation.gamma import Gamma
from autoseg.augmentation.low_resolution import LowResolution
from autoseg.augmentation.mirror import Mirror
from autoseg.augmentation.morphology import Morphology
from autoseg.augmentation.noise import Noise
from autoseg.augmentation.settings import AugmentationSettings, presets
from autoseg.augmentation.spatial import Rotation, Scaling

LOCAL = {"scale": {"fraction_of_edge": [0.17, 1.0]}, "loc": [-0.5, 1.5], "same_for_all_channels": False}
"""Gaussian bumps from a sixth of the patch's edge to all of it, whose centre may lie outside: broad enough to look like
the uneven field of a coil, and never a lesion."""

STRONG_LOADER: tuple[dict[str, Any], ...] = (
    {"name": "RicianNoiseTransform", "noise_variance": [0.0, 0.1], "p_per_sample": 0.1},
    {"name": "MedianFilterTransform", "filter_size": [2, 5], "p_per_sample": 0.1, "p_per_channel": 0.5},
    {"name": "SharpeningTransform", "strength": [0.1, 1.0], "p_per_sample": 0.15, "p_per_channel": 0.5},
    {
        "name": "BrightnessGradientAdditiveTransform",
        **LOCAL,
        "max_strength": {"one_of": [[-1.5, -0.3], [0.3, 1.5]]},
        "p_per_sample": 0.15,
        "p_per_channel": 0.5,
    },
    {
        "name": "LocalGammaTransform",
        **LOCAL,
        "gamma": {"one_of": [[0.3, 0.8], [1.5, 3.0]]},
        "p_per_sample": 0.15,
        "p_per_channel": 0.5,
    },
    {
        "name": "BlankRectangleTransform",
        "rectangle_size": [[3, 12]] * 3,
        "rectangle_value": [-1.0, 1.0],
        "num_rectangles": [1, 4],
        "p_per_sample": 0.2,
        "p_per_channel": 0.5,
    },
)
"""The transforms that nnU-Net's DA5 adds to its default, and Rician noise as magnitude images have it, each at about
half of DA5's probability and with a median of at most 4 voxels, a gradient of 1.5 deviations and gammas of 0.3 to 3
instead of 7, 5 and 0.01 to 4: at DA5's extremes organs disappear, and it is reported to help shapes alone."""


@presets.register("default")
def default() -> AugmentationSettings:
    """Take nnU-Net's transforms with its probabilities and ranges."""
    return AugmentationSettings()


@presets.register("light")
def light() -> AugmentationSettings:
    """Change half as many samples as the default, and those about half as far.

    For training too short to learn from the default, which leaves one sample in six as it was but for mirroring: of
    these, four in five keep their geometry, half keep their intensities, and two in five keep both.
    """
    return AugmentationSettings(
        rotation=Rotation(probability=0.1),
        scaling=Scaling(probability=0.1, range=(0.85, 1.2)),
        noise=Noise(probability=0.05, deviation=(0.0, 0.05)),
        blur=Blur(probability=0.1, sigma=(0.4, 0.7)),
        brightness=Brightness(probability=0.075, range=(0.87, 1.13)),
        contrast=Contrast(probability=0.075, range=(0.87, 1.13)),
        low_resolution=LowResolution(probability=0.125, zoom=(0.75, 1.0)),
        gamma_inverted=Gamma(probability=0.05, range=(0.85, 1.25), inverted=True),
        gamma=Gamma(probability=0.15, range=(0.85, 1.25)),
        morphology=Morphology(probability=0.2, radius=(1.0, 4.0)),
        component_removal=ComponentRemoval(probability=0.1),
    )


@presets.register("strong")
def strong() -> AugmentationSettings:
    """Rotate twice as often as the default, and let batchgenerators' long tail run in the loader."""
    return AugmentationSettings(rotation=Rotation(probability=0.4), loader=STRONG_LOADER)


@presets.register("none")
def none() -> AugmentationSettings:
    """Change nothing."""
    return AugmentationSettings(
        rotation=Rotation(probability=0),
        scaling=Scaling(probability=0),
        noise=Noise(probability=0),
        blur=Blur(probability=0),
        brightness=Brightness(probability=0),
        contrast=Contrast(probability=0),
        low_resolution=LowResolution(probability=0),
        gamma_inverted=Gamma(probability=0, inverted=True),
        gamma=Gamma(probability=0),
        mirror=Mirror(probability=0),
        morphology=Morphology(probability=0),
        component_removal=ComponentRemoval(probability=0),
    )
