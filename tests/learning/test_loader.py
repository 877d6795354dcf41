from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from autoseg.augmentation import build_augmentation
from autoseg.learning.cases import Cases
from autoseg.learning.loader import batches
from autoseg.learning.patches import PatchSource, Sources
from autoseg.preprocessing.channel_layout import ChannelLayout
from autoseg.sampling.stream import Stream, build_sampler
from autoseg.workspace.paths import Workspace

CPU = torch.device("cpu")


def source(root, name, *, in_memory=True, seed=0, fraction=0.33, augmentation=None):
    """Make the stream of training samples of a configuration, over all cases."""
    place = Workspace(root)
    plan = place.plan()
    configuration = plan.configuration(name)
    cases = Cases(place.data(plan, configuration), tuple(c.name for c in place.dataset().cases), in_memory=in_memory)
    made = build_augmentation(
        augmentation or configuration.augmentation,
        dimension=configuration.dimension,
        patch_size=configuration.patch_size,
        spacing=configuration.patch_spacing,
        mirror_axes=(),
        layout=ChannelLayout(len(configuration.normalization)),
    )
    return PatchSource(
        cases=cases,
        stream=Stream(seed=seed, fold=0, cases=len(cases), purpose=0),
        sampler=build_sampler({"name": "foreground", "fraction": fraction}),
        augmentation=made,
        patch=configuration.patch_shape,
        dimension=configuration.dimension,
        batch_size=configuration.batch_size,
        transform=made.loader_transform,
    )


def read(samples, *, first=0, count=3, workers=0):
    stream = batches(Sources({"labelled": samples}), first=first, device=CPU, workers=workers)
    return [found["labelled"] for found in islice(stream, count)]


def alike(one, other):
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(params=["2d", "3d_fullres"])
def name(request):
    return request.param


def test_batches_have_the_plans_shape(made_once, name):
    configuration = Workspace(made_once / "workspace").plan().configuration(name)
    (batch,) = read(source(made_once / "workspace", name), count=1)
    assert batch.images.shape == (2, 2, *configuration.patch_size) and batch.images.dtype == torch.float32
    assert batch.labels.shape == (2, *configuration.patch_size) and batch.labels.dtype == torch.int64


def test_a_batch_is_the_same_wherever_reading_begins(made_once, name):
    samples = source(made_once / "workspace", name)
    assert alike(read(samples, count=5)[3:], read(samples, first=3, count=2))


def test_batches_differ_from_each_other_and_between_seeds(made_once, name):
    first, second = read(source(made_once / "workspace", name), count=2)
    assert not alike([first], [second])
    assert not alike([first], read(source(made_once / "workspace", name, seed=1), count=1))


def test_cases_on_disk_give_what_cases_in_memory_give(made_once, name):
    in_memory, on_disk = (source(made_once / "workspace", name, in_memory=flag) for flag in (True, False))
    assert isinstance(in_memory.cases[0].image, np.ndarray)
    assert not isinstance(on_disk.cases[0].image, np.ndarray)
    assert alike(read(in_memory), read(on_disk))


def test_a_source_that_was_sent_to_a_worker_gives_the_same(made_once, name):
    samples = source(made_once / "workspace", name)
    first = read(samples)
    sent = pickle.dumps(samples)
    assert len(sent) < 20_000, "decoded cases must not travel to the workers"
    assert alike(first, read(pickle.loads(sent)))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same(made_once, name, workers):
    samples = source(made_once / "workspace", name, in_memory=False)
    assert alike(read(samples, first=2), read(samples, first=2, workers=workers))


def test_without_augmentation_a_patch_is_cut_out_of_its_case(made_once):
    samples = source(made_once / "workspace", "3d_fullres", fraction=1.0, augmentation={"name": "none"})
    image, labels = (getattr(samples.sample(0), part) for part in ("image", "labels"))
    whole = samples.cases[samples.stream.case(0)]
    size, room = samples.patch, np.maximum(np.subtract(whole.shape, samples.patch), 0)
    assert labels.any(), "a fraction of 1 centres every patch on foreground"
    offsets = [
        start
        for start in np.ndindex(*(room + 1))
        if np.array_equal(whole.labels[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))], labels)
    ]
    found = [tuple(slice(s, s + n) for s, n in zip(start, size, strict=True)) for start in offsets]
    assert any(np.array_equal(whole.image[(slice(None), *place)], image) for place in found)


@pytest.mark.parametrize("augmentation", [{"name": "none"}, {"name": "none", "rotation": {"probability": 1.0}}])
def test_what_is_learned_lies_in_the_middle_of_what_is_seen(made_once, name, augmentation):
    """Of a sample, labels are those of the patch less its margin."""
    plain = source(made_once / "workspace", name, augmentation=augmentation)
    margin = (0, 3, 4)
    inner = tuple(n - 2 * m for n, m in zip(plain.patch, margin, strict=True))
    around = replace(plain, margin=margin)
    for index in range(3):
        sample = around.sample(index)
        seen = plain.to_device([sample], CPU)
        learned = around.to_device([sample], CPU)
        assert torch.equal(learned.images, seen.images)
        assert torch.equal(learned.labels, seen.labels[..., 3:-3, 4:-4])
        assert tuple(learned.labels.shape[1:]) == inner[3 - around.dimension :]


def test_what_is_learned_is_centred_on_the_foreground_and_lies_in_the_image(made_once):
    plain = source(made_once / "workspace", "3d_fullres", fraction=1.0, augmentation={"name": "none"})
    case = plain.cases[0].shape
    learned = (3, 3, 3)
    margin = (20, 20, 20)
    patch = tuple(n + 2 * m for n, m in zip(learned, margin, strict=True))
    spatial = replace(plain.augmentation.spatial, patch=patch)
    around = replace(plain, patch=patch, margin=margin, augmentation=replace(plain.augmentation, spatial=spatial))
    assert any(n < p for n, p in zip(case, patch, strict=True)), "margins reach beyond the image"
    middles = []
    for index in range(8):
        batch = around.to_device([around.sample(index)], CPU)
        alone = replace(
            plain, patch=learned, augmentation=replace(plain.augmentation, spatial=replace(spatial, patch=learned))
        )
        same = alone.to_device([alone.sample(index)], CPU)
        assert torch.equal(batch.labels, same.labels), "the margin changes nothing of what is drawn"
        assert torch.equal(batch.images[..., 20:-20, 20:-20, 20:-20], same.images)
        middles.append(bool((batch.labels > 0).any()))
    assert all(middles)
