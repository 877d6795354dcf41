"""Augmentation of a batch: parameters are drawn per sample on the CPU and applied per batch on the training device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from autoseg.augmentation.channel_dropout import check_dropout, drop
from autoseg.augmentation.component_removal import remove_components
from autoseg.augmentation.draws import Shape
from autoseg.augmentation.mirror import mirror, negate, swap_labels, swap_outputs
from autoseg.augmentation.morphology import change_borders
from autoseg.augmentation.settings import AugmentationSettings, settings_from
from autoseg.augmentation.spatial import Spatial, SpatialParameters, resample, resample_labels
from autoseg.preprocessing.channel_layout import ChannelLayout
from autoseg.preprocessing.mirrored_labels import MirroredLabels
from autoseg.preprocessing.previous_stage import label_channels

if TYPE_CHECKING:
    from autoseg.augmentation.loader_transforms import LoaderTransforms

INTENSITY = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma")
"""Intensity transforms in order of application (nnU-Net's order)."""


class IntensityTransform(Protocol):
    """A transform that changes only intensities."""

    probability: float

    def sample(self, rng: np.random.Generator, shape: Shape) -> Any:
        """Draw the parameters of one sample of ``shape`` [C,*space]."""
        ...

    def apply(self, images: torch.Tensor, parameters: Sequence[Any]) -> torch.Tensor:
        """Change images [N,C,*space], each with its own parameters."""
        ...


@dataclass(frozen=True)
class Parameters:
    """All parameters of the augmentation of one sample."""

    spatial: SpatialParameters | None = None
    intensity: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the applied intensity transforms, by name."""
    mirror: tuple[int, ...] = ()
    """Spatial axes along which the sample is mirrored."""
    dropped: tuple[int, ...] = ()
    """Numbers of the dataset's channels that are dropped in the sample."""


@dataclass(frozen=True)
class Augmentation:
    """Draws and applies the transforms of a plan's settings, for patches of one shape."""

    settings: AugmentationSettings
    spatial: Spatial
    mirror_axes: tuple[int, ...]
    layout: ChannelLayout
    """Channels of the samples. Intensity transforms do not change computed channels; all spatial transforms do."""
    mirrored_labels: MirroredLabels | None = None
    """What is swapped in samples that are mirrored across the body."""

    @property
    def loader_transform(self) -> LoaderTransforms | None:
        """The transforms that the loader applies to a sample; None without such transforms.

        Applies each transform once as a trial, which takes as long as the transform. Raises
        :class:`autoseg.errors.PlanError` for transforms that cannot be used.
        """
        if not self.settings.loader:
            return None
        from autoseg.augmentation.loader_mirroring import check_no_mirrored_labels, check_nothing_moves
        from autoseg.augmentation.loader_transforms import build_loader_transform

        built = build_loader_transform(
            self.settings.loader, patch=self.spatial.patch, channels=self.layout.image, larger=self.spatial.enlarges
        )
        check_no_mirrored_labels(self.settings.loader, self.mirrored_labels)
        if self.layout.computed:
            check_nothing_moves(self.settings.loader)
        return built

    def sample(self, rng: np.random.Generator) -> Parameters:
        """Draw all parameters of one sample."""
        shape = (self.layout.image, *self.spatial.patch)
        spatial = self.spatial.sample(rng)
        intensity = {}
        for name in INTENSITY:
            transform: IntensityTransform = getattr(self.settings, name)
            if rng.random() < transform.probability:
                intensity[name] = transform.sample(rng, shape)
        return Parameters(spatial, intensity, self.settings.mirror.sample(rng, self.mirror_axes))

    def disturb(self, previous: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a previous stage's label map [*source] with simulated errors.

        These draws come last in a sample, so all other draws are the same with and without a previous stage.
        """
        morphology, removal = self.settings.morphology, self.settings.component_removal
        operations = morphology.sample(rng, self.layout.previous_labels)
        removals = removal.sample(rng, self.layout.previous_labels)
        disturbed = previous.copy()
        change_borders(disturbed, operations, self.spatial.spacing)
        remove_components(disturbed, removals, largest=removal.largest)
        return disturbed

    def without_channels(
        self, parameters: Parameters, missing_channels: Sequence[int], rng: np.random.Generator
    ) -> Parameters:
        """Return the parameters of a sample with drawn dropped channels; ``missing_channels``: those of its case.

        Drawn after all other parameters, like :meth:`disturb`, and only if the dataset has optional channels.
        """
        if not self.layout.optional:
            return parameters
        return replace(parameters, dropped=self.settings.channel_dropout.sample(rng, self.layout, missing_channels))

    def source_size(self, parameters: Parameters) -> tuple[int, ...]:
        """Return the size of the source region around the patch's centre."""
        return self.spatial.source_size(parameters.spatial)

    def apply(
        self,
        images: Sequence[torch.Tensor],
        labels: Sequence[torch.Tensor],
        parameters: Sequence[Parameters],
        previous: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment samples [C,*source] with labels [*source] on their device; returns [B,C,*patch] and [B,*patch].

        Label maps ``previous`` [*source] of a previous stage are transformed with their samples and become additional
        channels, which intensity transforms do not change.

        The result of a sample does not depend on the other samples in its batch, except for rounding: rotated or
        scaled samples are padded to a common size, so float32 coordinates have an error of about 1e-5 of an edge.
        """
        batch, targets = self._move(images, labels, parameters)
        # A view: changes apply to the batch, but not to its extra channels.
        intensities = batch[:, : self.layout.image]
        for name in INTENSITY:
            on = [index for index, drawn in enumerate(parameters) if name in drawn.intensity]
            if on:
                transform: IntensityTransform = getattr(self.settings, name)
                intensities[on] = transform.apply(intensities[on], [parameters[index].intensity[name] for index in on])
        self._mirror(batch, targets, parameters)
        drop(batch, self.layout, [drawn.dropped for drawn in parameters])
        if previous is None:
            return batch, targets
        before = self._move_labels(previous, parameters)
        self._mirror(batch[:, :0], before, parameters)
        return torch.cat([batch, label_channels(before, self.layout.previous_labels)], dim=1), targets

    def annotated(self, annotated: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Return which outputs are annotated in the mirrored samples, [B,outputs] bool."""
        if self.mirrored_labels is None:
            return annotated
        return swap_outputs(annotated, [drawn.mirror for drawn in parameters], self.mirrored_labels)

    def _mirror(self, images: torch.Tensor, labels: torch.Tensor, parameters: Sequence[Parameters]) -> None:
        """Mirror samples in place; swap mirrored labels in samples that are mirrored across the body."""
        axes = [drawn.mirror for drawn in parameters]
        mirror(images, labels, axes)
        if self.mirrored_labels is not None:
            swap_labels(labels, axes, self.mirrored_labels)
            if images.shape[1]:
                negate(images, axes, self.mirrored_labels)

    def _move(
        self, images: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], parameters: Sequence[Parameters]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotate and scale the samples with drawn spatial parameters; copy the others unchanged."""
        patch = self.spatial.patch
        batch = images[0].new_empty((len(images), self.layout.stored, *patch), dtype=torch.float32)
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
        """Rotate and scale separate label maps like the labels of the images."""
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
    layout: ChannelLayout,
    mirrored_labels: MirroredLabels | None = None,
) -> Augmentation:
    """Build the augmentation of a plan's ``spec``; axes are axes of the patch, ``spacing`` in millimetres.

    ``layout``: the channels of the samples. ``mirrored_labels``: what is swapped in samples that are mirrored across
    the body. Raises :class:`autoseg.errors.PlanError` for unknown presets, transforms and arguments.
    """
    if len(patch_size) != dimension or len(spacing) != dimension:
        raise ValueError("patch_size and spacing need one value per axis of the configuration")
    settings = settings_from(spec)
    check_dropout(settings.channel_dropout, layout)
    spatial = Spatial(tuple(patch_size), tuple(spacing), settings.rotation, settings.scaling)
    return Augmentation(settings, spatial, tuple(mirror_axes), layout, mirrored_labels)
