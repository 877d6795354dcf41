"""Which normalization suits each channel (nnU-Net's rules); fitted parameters go into the plan."""

from __future__ import annotations

from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Component

MASKING_SHARE = 0.75
"""Where cropping leaves less than this share of the voxels, intensities are normalized inside the non-zero mask."""


def normalization(dataset: Dataset, fingerprint: Fingerprint, notes: list[str]) -> tuple[Component, ...]:
    """Choose each channel's normalization by its name, as nnU-Net does; fitted parameters go into the plan."""
    masked = fingerprint.median_cropped_share < MASKING_SHARE
    by_name: dict[str, Component] = {
        "nonorm": {"name": "none"}, "none": {"name": "none"},
        "rescale_to_0_1": {"name": "rescale"}, "rescale": {"name": "rescale"},
        "rgb_to_0_1": {"name": "rgb"}, "rgb": {"name": "rgb"},
    }  # fmt: skip
    specs: list[Component] = []
    for channel, seen in zip(dataset.channels, fingerprint.intensities, strict=True):
        if channel.lower() == "ct":
            clip = {"lower": seen.percentile_00_5, "upper": seen.percentile_99_5}
            specs.append({"name": "ct", **clip, "mean": seen.mean, "deviation": seen.deviation})
        else:
            specs.append(by_name.get(channel.lower(), {"name": "z_score", "masked": masked}))
        notes.append(f"channel '{channel}': normalization {specs[-1]['name']}")
    return tuple(specs)
