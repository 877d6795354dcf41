"""Samples of a stream: patches of preprocessed cases, read by number and augmented on the training device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from autoseg.augmentation import Augmentation
from autoseg.data.dataset import IGNORED
from autoseg.learning.batch import Batch, Sample, SecondView, maps_between
from autoseg.learning.cases import Cases, SomeCases
from autoseg.sampling.stream import CaseSampler, Holders, Sampler, Stream, read_previous, read_region

MOST_SEEDS = 2**63
"""Upper bound of seeds; it is so large that two samples of a training hardly ever get the same seed."""

LoaderTransform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class CaseFacts:
    """What a stream knows of its cases, by index; a field is None if it says nothing for the dataset."""

    annotated: np.ndarray | None = None
    """Annotated outputs of each case, [cases,outputs] bool; None: all outputs in all cases."""
    unlabelled: np.ndarray | None = None
    """Cases without a label map, [cases] bool; None: all cases have one."""
    tags: np.ndarray | None = None
    """[cases,tags] int64, as in :class:`autoseg.learning.batch.Batch`."""
    sites: np.ndarray | None = None
    """[cases] int64, as in :class:`autoseg.learning.batch.Batch`."""


@dataclass(frozen=True)
class PatchSource(Dataset[list[Sample]]):
    """Samples of one stream by number: sample i can be read for any i."""

    cases: Cases | SomeCases
    stream: Stream
    sampler: Sampler | CaseSampler
    augmentation: Augmentation
    patch: tuple[int, int, int]
    dimension: int
    batch_size: int
    transform: LoaderTransform | None = None
    facts: CaseFacts = field(default_factory=CaseFacts)
    holders: Holders = field(default_factory=dict)
    """Cases that contain each class, for a sampler that chooses the case."""
    margin: tuple[int, int, int] = (0, 0, 0)
    """Voxels on each side of a patch that are input of the network but not part of its output."""
    views: int = 1
    """Number of views of each sample, each with its own augmentation: 1 or 2."""

    def sample(self, index: int) -> Sample:
        """Read sample ``index``; all its random choices come from the stream's generators of this index."""
        rng = self.stream.rng(index)
        number, start = self._place(index, rng)
        sample = self._view(number, start, rng)
        if self.views == 1:
            return sample
        # The second view has its own generator, so that the first is the same with one view and with two.
        return replace(sample, second=self._view(number, start, self.stream.second_rng(index)))

    def _view(self, number: int, start: tuple[int, int, int], rng: np.random.Generator) -> Sample:
        """Read the patch of case ``number`` that begins at ``start``, and draw its augmentation."""
        case = self.cases[number]
        parameters = self.augmentation.sample(rng)
        size = self._size(self.augmentation.source_size(parameters))
        first = tuple(s - (n - p) // 2 for s, n, p in zip(start, size, self.patch, strict=True))
        image, labels = read_region(case, first, size)  # type: ignore[arg-type]
        previous = read_previous(case, first, size)  # type: ignore[arg-type]
        if previous is not None:
            # Spatial transforms treat both label maps as two channels of one label map.
            labels = np.stack([labels, previous])
        if self.dimension == 2:
            image, labels = image[:, 0], labels[..., 0, :, :]
        if self.transform:
            # The transform changes intensities; extra channels have no intensities.
            count = self.augmentation.layout.image
            changed, labels = self.transform(image[:count], labels, rng)
            image = np.concatenate([changed, image[count:]])
        annotated = None if self.facts.annotated is None else self.facts.annotated[number]
        before = None
        if previous is not None:
            labels, before = labels[0], self.augmentation.disturb(labels[1], rng)
        parameters = self.augmentation.without_channels(parameters, case.record.missing_channels, rng)
        # The seed is drawn last, so that all other random choices do not depend on the network.
        seed = int(rng.integers(MOST_SEEDS))
        return Sample(image, labels, parameters, before, annotated, seed=seed, case=number)

    def _place(self, index: int, rng: np.random.Generator) -> tuple[int, tuple[int, int, int]]:
        """Choose the case of a sample and the first voxel (z, y, x) of its patch."""
        number, position, batch = self.stream.case(index), index % self.batch_size, self.batch_size
        sampler = self.sampler
        if isinstance(sampler, CaseSampler):
            number, sampler = sampler.choose(number, self.holders, position=position, batch=batch, rng=rng)
        z, y, x = (n - 2 * m for n, m in zip(self.patch, self.margin, strict=True))
        # The output region lies inside the image; the margin may lie outside.
        start = sampler(self.cases[number], (z, y, x), position=position, batch=batch, rng=rng)
        z, y, x = (s - m for s, m in zip(start, self.margin, strict=True))
        return number, (z, y, x)

    def _size(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        z, y, x = (1, *size) if self.dimension == 2 else size
        return z, y, x

    def to_device(self, samples: Sequence[Sample], device: torch.device) -> Batch:
        """Move samples to the device and augment them there."""
        batch = augmented_on_device(samples, self.augmentation, device)
        numbers = [sample.case for sample in samples]
        return replace(
            batch,
            labels=self._known_labels(batch.labels, numbers),
            cases=tuple(self.cases.names[number] for number in numbers),
            tags=_rows(self.facts.tags, numbers, device),
            sites=_rows(self.facts.sites, numbers, device),
            second=self._second(samples, device) if self.views == 2 else None,
        )

    def _second(self, samples: Sequence[Sample], device: torch.device) -> SecondView:
        others = [sample.second for sample in samples if sample.second is not None]
        batch, first, second = (
            augmented_on_device(others, self.augmentation, device),
            [sample.parameters for sample in samples],
            [sample.parameters for sample in others],
        )
        mirrored = self.augmentation.mirrored_labels
        return SecondView(
            batch.images,
            self._known_labels(batch.labels, [sample.case for sample in samples]),
            maps_between(first, second, self.dimension).to(device),
            tuple(
                mirrored is not None and (mirrored.axis in one.mirror) != (mirrored.axis in other.mirror)
                for one, other in zip(first, second, strict=True)
            ),
            mirrored,
        )

    def _known_labels(self, labels: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
        """Return the labels of the output region; those of cases without a label map are ignored."""
        inside = (slice(m, n - m) for n, m in zip(self.patch, self.margin, strict=True))
        labels = labels[(slice(None), *[*inside][3 - self.dimension :])]
        if self.facts.unlabelled is not None:
            # Augmentation fills the surroundings of an image with background, also in these cases.
            labels[torch.from_numpy(self.facts.unlabelled[list(numbers)])] = IGNORED
        return labels

    def __getitem__(self, batch: int) -> list[Sample]:
        first = batch * self.batch_size
        return [self.sample(index) for index in range(first, first + self.batch_size)]

    def __len__(self) -> int:
        raise TypeError("a stream has no end")


@dataclass(frozen=True)
class Sources(Dataset[dict[str, list[Sample]]]):
    """The streams of a trainer: item i contains batch i of each stream."""

    streams: Mapping[str, PatchSource]

    def __getitem__(self, batch: int) -> dict[str, list[Sample]]:
        return {name: source[batch] for name, source in self.streams.items()}

    def __len__(self) -> int:
        raise TypeError("a stream has no end")

    def to_device(self, samples: Mapping[str, Sequence[Sample]], device: torch.device) -> dict[str, Batch]:
        """Move the samples of each stream to the device and augment them there."""
        return {name: source.to_device(samples[name], device) for name, source in self.streams.items()}


def augmented_on_device(samples: Sequence[Sample], augmentation: Augmentation, device: torch.device) -> Batch:
    """Move samples to the device and augment them there."""
    images = [torch.from_numpy(sample.image).to(device, non_blocking=True) for sample in samples]
    labels = [torch.from_numpy(sample.labels).to(device, non_blocking=True) for sample in samples]
    parameters = [sample.parameters for sample in samples]
    augmented, targets = augmentation.apply(images, labels, parameters, _previous(samples, device))
    known = [sample.annotated for sample in samples if sample.annotated is not None]
    annotated = augmentation.annotated(torch.from_numpy(np.stack(known)).to(device), parameters) if known else None
    return Batch(augmented, targets.long(), annotated, tuple(sample.seed for sample in samples))


def _rows(table: np.ndarray | None, numbers: Sequence[int], device: torch.device) -> torch.Tensor | None:
    return None if table is None else torch.from_numpy(table[list(numbers)]).to(device)


def _previous(samples: Sequence[Sample], device: torch.device) -> list[torch.Tensor] | None:
    """Move the label maps of a previous stage to the device; None without a previous stage."""
    found = [sample.previous for sample in samples if sample.previous is not None]
    return [torch.from_numpy(labels).to(device, non_blocking=True) for labels in found] or None
