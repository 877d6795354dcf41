"""The augmentation of a batch: drawn on the CPU, sample by sample, and applied on the training device, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from autoseg.augmentation.channel_dropout import NONE_MISSABLE, Missables, check_dropout, drop
from autoseg.augmentation.component_removal import remove_components
from autoseg.augmentation.draws import Shape
from autoseg.augmentation.mirror import mirror, negate, swap_labels, swap_outputs
from autoseg.augmentation.morphology import change_borders
from autoseg.augmentation.settings import AugmentationSettings, settings_from
from autoseg.augmentation.spatial import Spatial, SpatialParameters, resample, resample_labels
from autoseg.networks.label_channels import label_channels
from autoseg.swapping import Swapping

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
    gone: tuple[int, ...] = ()
    """Numbers of the dataset's channels that the sample is without."""


@dataclass(frozen=True)
class Augmentation:
    """Draws and applies what a plan's settings say, for patches of one shape."""

    settings: AugmentationSettings
    spatial: Spatial
    mirror_axes: tuple[int, ...]
    channels: int
    """Of the image."""
    previous_labels: int = 0
    """Labels of a previous stage, whose channels follow those of the image."""
    swapping: Swapping | None = None
    """What changes places in samples that are mirrored across the body."""
    missables: Missables = NONE_MISSABLE
    """Channels that a case may lack."""
    extra: int = 0
    """Channels that follow those of the image and are no intensities: they are moved and mirrored, and else left."""

    @property
    def loader_transform(self) -> LoaderTransforms | None:
        """What the loader applies to a sample before it is handed on; None where there is nothing.

        Tries each transform once, which takes as long as it does; raises :class:`autoseg.errors.PlanError` for those
        that cannot be used.
        """
        if not self.settings.loader:
            return None
        from autoseg.augmentation.loader_mirroring import check_no_swapping, check_nothing_moves
        from autoseg.augmentation.loader_transforms import build_loader_transform

        built = build_loader_transform(
            self.settings.loader, patch=self.spatial.patch, channels=self.channels, larger=self.spatial.enlarges
        )
        check_no_swapping(self.settings.loader, self.swapping)
        if self.extra:
            check_nothing_moves(self.settings.loader)
        return built

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

    def disturb(self, previous: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a previous stage's label map [*source] with mistakes that it might have made.

        It is drawn after all else of a sample, which therefore is the same with a previous stage and without one.
        """
        morphology, removal = self.settings.morphology, self.settings.component_removal
        operations = morphology.sample(rng, self.previous_labels)
        removals = removal.sample(rng, self.previous_labels)
        disturbed = previous.copy()
        change_borders(disturbed, operations, self.spatial.spacing)
        remove_components(disturbed, removals, largest=removal.largest)
        return disturbed

    def without_channels(self, parameters: Parameters, absent: Sequence[int], rng: np.random.Generator) -> Parameters:
        """Return the parameters of a sample without some of its channels, ``absent`` being those of its case.

        Drawn after all else of a sample, as :meth:`disturb` is, and only where a channel may be missing.
        """
        if not self.missables.channels:
            return parameters
        return replace(parameters, gone=self.settings.channel_dropout.sample(rng, self.missables, absent))

    def source_size(self, parameters: Parameters) -> tuple[int, ...]:
        """Return the size of the region around the patch's centre that a sample is made from."""
        return self.spatial.source_size(parameters.spatial)

    def apply(
        self,
        images: Sequence[torch.Tensor],
        labels: Sequence[torch.Tensor],
        parameters: Sequence[Parameters],
        previous: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment samples [C,*source] with labels [*source] on their device; returns [B,C,*patch] and [B,*patch].

        Label maps ``previous`` [*source] of a previous stage move with their samples and become further channels, which
        no transform of intensities sees.

        A sample comes out the same whatever else is in its batch, but for rounding: samples that are turned or scaled
        are padded to a common size, over which single precision places their voxels to about 1e-5 of an edge.
        """
        batch, targets = self._move(images, labels, parameters)
        # A view: what follows changes the batch, but not its extra channels.
        intensities = batch[:, : self.channels]
        for name in INTENSITY:
            on = [index for index, drawn in enumerate(parameters) if name in drawn.intensity]
            if on:
                transform: IntensityTransform = getattr(self.settings, name)
                intensities[on] = transform.apply(intensities[on], [parameters[index].intensity[name] for index in on])
        self._mirror(batch, targets, parameters)
        drop(batch, self.missables, [drawn.gone for drawn in parameters])
        if previous is None:
            return batch, targets
        before = self._move_labels(previous, parameters)
        self._mirror(batch[:, :0], before, parameters)
        return torch.cat([batch, label_channels(before, self.previous_labels)], dim=1), targets

    def annotated(self, annotated: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Return which outputs were annotated, [B,outputs] bool, in the samples as they are mirrored."""
        if self.swapping is None:
            return annotated
        return swap_outputs(annotated, [drawn.mirror for drawn in parameters], self.swapping)

    def _mirror(self, images: torch.Tensor, labels: torch.Tensor, parameters: Sequence[Parameters]) -> None:
        """Mirror samples in place; in those that are mirrored across the body, labels change places."""
        axes = [drawn.mirror for drawn in parameters]
        mirror(images, labels, axes)
        if self.swapping is not None:
            swap_labels(labels, axes, self.swapping)
            if images.shape[1]:
                negate(images, axes, self.swapping)

    def _move(
        self, images: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], parameters: Sequence[Parameters]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn and scale the samples for which that was drawn; the others are taken as they are."""
        patch = self.spatial.patch
        batch = images[0].new_empty((len(images), self.channels + self.extra, *patch), dtype=torch.float32)
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

    def _move_labels(self, labels: Sequence[torch.Tensor], parameters: Sequence[Parameters]) -> torch.Tensor:
        """Turn and scale label maps by themselves, as those that belong to the images."""
        moved = labels[0].new_empty((len(labels), *self.spatial.patch))
        moving = {index: drawn.spatial for index, drawn in enumerate(parameters) if drawn.spatial is not None}
        for index in range(len(labels)):
            if index not in moving:
                moved[index] = labels[index]
        if moving:
            indices = list(moving)
            moved[indices] = resample_labels([labels[i] for i in indices], [*moving.values()], self.spatial.patch)
        return moved


def build_augmentation(
    spec: Mapping[str, Any],
    *,
    dimension: int,
    patch_size: tuple[int, ...],
    spacing: tuple[float, ...],
    mirror_axes: tuple[int, ...],
    channels: int,
    previous_labels: int = 0,
    swapping: Swapping | None = None,
    missables: Missables = NONE_MISSABLE,
    extra: int = 0,
) -> Augmentation:
    """Build what a plan's ``spec`` says; axes are those of the patch, ``spacing`` in millimetres.

    ``channels`` are those of the image, ``previous_labels`` the labels that a previous stage tells apart, ``swapping``
    what changes places in samples that are mirrored across the body, ``missables`` the channels that a case may lack,
    ``extra`` the number of channels behind those of the image that are no intensities.

    Raises :class:`autoseg.errors.PlanError` for unknown presets, transforms and arguments.
    """
    if len(patch_size) != dimension or len(spacing) != dimension:
        raise ValueError("patch and spacing have as many axes as the configuration")
    settings = settings_from(spec)
    check_dropout(settings.channel_dropout, missables)
    spatial = Spatial(tuple(patch_size), tuple(spacing), settings.rotation, settings.scaling)
    return Augmentation(settings, spatial, tuple(mirror_axes), channels, previous_labels, swapping, missables, extra)
