"""The augmentation of a batch: drawn on the CPU, sample by sample, and applied on the training device, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from autoseg.augmentation.draws import Shape
from autoseg.augmentation.mirror import mirror
from autoseg.augmentation.settings import AugmentationSettings, settings_from
from autoseg.augmentation.spatial import Spatial, SpatialParameters, resample

if TYPE_CHECKING:
    from autoseg.augmentation.loader_transforms import LoaderTransforms

INTENSITY = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma")
"""The transforms of intensities in the order in which they are applied (nnU-Net's)."""


class IntensityTransform(Protocol):
    """A transform that changes intensities alone."""

    probability: float

    def sample(self, rng: np.random.Generator, shape: Shape) -> Any:
        """Draw the parameters of one sample of ``shape`` [C,*space]."""
        ...

    def apply(self, images: torch.Tensor, parameters: Sequence[Any]) -> torch.Tensor:
        """Change images [N,C,*space], each by its own parameters."""
        ...


@dataclass(frozen=True)
class Parameters:
    """All that is done to one sample."""

    spatial: SpatialParameters | None = None
    intensity: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the transforms that are on, by name."""
    mirror: tuple[int, ...] = ()
    """Spatial axes."""


@dataclass(frozen=True)
class Augmentation:
    """Draws and applies what a plan's settings say, for patches of one shape."""

    settings: AugmentationSettings
    spatial: Spatial
    mirror_axes: tuple[int, ...]
    channels: int

    @property
    def loader_transform(self) -> LoaderTransforms | None:
        """What the loader applies to a sample before it is handed on; None where there is nothing.

        Tries each transform once, which takes as long as it does; raises :class:`autoseg.errors.PlanError` for those
        that cannot be used.
        """
        if not self.settings.loader:
            return None
        from autoseg.augmentation.loader_transforms import build_loader_transform

        return build_loader_transform(self.settings.loader, patch=self.spatial.patch, channels=self.channels)

    def sample(self, rng: np.random.Generator) -> Parameters:
        """Draw all parameters of one sample."""
        shape = (self.channels, *self.spatial.patch)
        spatial = self.spatial.sample(rng)
        intensity = {}
        for name in INTENSITY:
            transform: IntensityTransform = getattr(self.settings, name)
            if rng.random() < transform.probability:
                intensity[name] = transform.sample(rng, shape)
        return Parameters(spatial, intensity, self.settings.mirror.sample(rng, self.mirror_axes))

    def source_size(self, parameters: Parameters) -> tuple[int, ...]:
        """Return the size of the region around the patch's centre that a sample is made from."""
        return self.spatial.source_size(parameters.spatial)

    def apply(
        self, images: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], parameters: Sequence[Parameters]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment samples [C,*source] with labels [*source] on their device; returns [B,C,*patch] and [B,*patch].

        A sample comes out the same whatever else is in its batch, but for rounding: samples that are turned or scaled
        are padded to a common size, over which single precision places their voxels to about 1e-5 of an edge.
        """
        batch, targets = self._move(images, labels, parameters)
        for name in INTENSITY:
            on = [index for index, drawn in enumerate(parameters) if name in drawn.intensity]
            if on:
                transform: IntensityTransform = getattr(self.settings, name)
                batch[on] = transform.apply(batch[on], [parameters[index].intensity[name] for index in on])
        mirror(batch, targets, [drawn.mirror for drawn in parameters])
        return batch, targets

    def _move(
        self, images: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], parameters: Sequence[Parameters]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn and scale the samples for which that was drawn; the others are taken as they are."""
        patch = self.spatial.patch
        batch = images[0].new_empty((len(images), self.channels, *patch), dtype=torch.float32)
        targets = labels[0].new_empty((len(images), *patch))
        moving = {index: drawn.spatial for index, drawn in enumerate(parameters) if drawn.spatial is not None}
        for index in range(len(images)):
            if index not in moving:
                batch[index], targets[index] = images[index], labels[index]
        if moving:
            indices = list(moving)
            batch[indices], targets[indices] = resample(
                [images[index] for index in indices], [labels[index] for index in indices], [*moving.values()], patch
            )
        return batch, targets


def build_augmentation(
    spec: Mapping[str, Any],
    *,
    dimension: int,
    patch_size: tuple[int, ...],
    spacing: tuple[float, ...],
    mirror_axes: tuple[int, ...],
    channels: int,
) -> Augmentation:
    """Build what a plan's ``spec`` says; axes are those of the patch, ``spacing`` in millimetres.

    Raises :class:`autoseg.errors.PlanError` for unknown presets, transforms and arguments.
    """
    if len(patch_size) != dimension or len(spacing) != dimension:
        raise ValueError("patch and spacing have as many axes as the configuration")
    settings = settings_from(spec)
    spatial = Spatial(tuple(patch_size), tuple(spacing), settings.rotation, settings.scaling)
    return Augmentation(settings, spatial, tuple(mirror_axes), channels)
