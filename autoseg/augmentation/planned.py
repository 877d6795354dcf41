"""The augmentation of a planned configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoseg.augmentation.channel_dropout import missables_of
from autoseg.augmentation.pipeline import Augmentation, build_augmentation
from autoseg.dataset import Dataset
from autoseg.plan import Configuration
from autoseg.preprocessing.extra import extra_count
from autoseg.preprocessing.normalization import output_channels
from autoseg.swapping import Swapping


def planned_augmentation(
    spec: Mapping[str, Any],
    configuration: Configuration,
    dataset: Dataset,
    *,
    mirror_axes: tuple[int, ...],
    swapping: Swapping | None = None,
) -> Augmentation:
    """Build what ``spec`` says for the patches of a configuration; see :func:`build_augmentation`."""
    return build_augmentation(
        spec,
        dimension=configuration.dimension,
        patch_size=configuration.patch_size,
        spacing=configuration.patch_spacing,
        mirror_axes=mirror_axes,
        channels=output_channels(configuration.normalization),
        previous_labels=len(dataset.values) if configuration.previous_stage else 0,
        swapping=swapping,
        extra=extra_count(configuration.extra_channels),
        missables=missables_of(dataset, configuration.normalization),
    )
