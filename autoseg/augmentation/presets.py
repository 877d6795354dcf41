"""Augmentation presets by name."""

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
"""Gaussian functions with a width from a sixth to all of the patch's edge; the centre can lie outside the patch. They
are broad, so they simulate the inhomogeneous field of a coil and cannot be confused with a lesion."""

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
"""The transforms that nnU-Net's DA5 adds to its default, and Rician noise, which magnitude images have.

Each probability is about half of DA5's. The maxima are lower than DA5's: median filter of 4 voxels instead of 7,
gradient of 1.5 standard deviations instead of 5, gamma of 0.3 to 3 instead of 0.01 to 4. At DA5's extremes organs
disappear, and DA5 is reported to help only for shapes."""


@presets.register("default")
def default() -> AugmentationSettings:
    """Use nnU-Net's transforms with its probabilities and ranges."""
    return AugmentationSettings()


@presets.register("light")
def light() -> AugmentationSettings:
    """Use half the probabilities of the default, and about half the strength.

    For training that is too short for the default. The default leaves 1 in 6 samples unchanged except for mirroring.
    With this preset, 4 in 5 samples keep their geometry, half keep their intensities, and 2 in 5 keep both.
    """
    return AugmentationSettings(
        rotation=Rotation(probability=0.1),
        scaling=Scaling(probability=0.1, range=(0.85, 1.2)),
        noise=Noise(probability=0.05, std=(0.0, 0.05)),
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
    """Rotate twice as often as the default, and apply further transforms of batchgenerators in the loader."""
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
