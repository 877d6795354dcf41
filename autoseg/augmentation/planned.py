"""The augmentation of a planned configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoseg.augmentation.pipeline import Augmentation, build_augmentation
from autoseg.data.dataset import Dataset
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.mirrored_labels import MirroredLabels


def planned_augmentation(
    spec: Mapping[str, Any],
    configuration: Configuration,
    dataset: Dataset,
    *,
    mirror_axes: tuple[int, ...],
    mirrored_labels: MirroredLabels | None = None,
) -> Augmentation:
    """Build the augmentation of ``spec`` for the patches of a configuration; see :func:`build_augmentation`."""
    return build_augmentation(
        spec,
        dimension=configuration.dimension,
        patch_size=configuration.patch_size,
        spacing=configuration.patch_spacing,
        mirror_axes=mirror_axes,
        layout=channel_layout(configuration, dataset),
        mirrored_labels=mirrored_labels,
    )
