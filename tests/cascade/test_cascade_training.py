"""What a cascade trains on, and that it trains the same however it is run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import islice

import numpy as np
import pytest
import torch

import autoseg
from autoseg.augmentation import build_augmentation
from autoseg.errors import TrainingError
from autoseg.images.volumes import read_labels, write_labels
from autoseg.learning.cases import Cases
from autoseg.learning.loader import batches
from autoseg.learning.loop import Interrupted
from autoseg.learning.patches import PatchSource, Sources, augmented_on_device
from autoseg.preprocessing.channel_layout import ChannelLayout
from autoseg.preprocessing.previous_stage import labels_on_grid, prepare_previous_stage
from autoseg.sampling.stream import Stream, build_sampler
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"
STEPS = 4


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_one_seed_gives_one_set_of_weights_however_it_is_stopped(stage, cascade_once):
    def stop(report):
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS, listener=stop)
    autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS)
    assert same(stage.weights(), cascade_once.weights())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_nothing(stage, cascade_once, workers):
    autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS, workers=workers)
    assert same(stage.weights(), cascade_once.weights())


def test_a_training_does_not_go_on_with_another_first_stage(stage):
    def stop(report):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS, listener=stop)
    path = stage.fold(STAGE, 1).validation / f"{stage.splits()[1].val[0]}.nii.gz"
    labels, geometry = read_labels(path)
    write_labels(path, np.where(labels == 1, 2, labels), geometry)
    with pytest.raises(TrainingError, match="started with another previous_stage"):
        autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS)


def perfect(place: Workspace) -> None:
    """Let the first stage have predicted the reference label maps."""
    for number, split in enumerate(place.splits()):
        for case in split.val:
            target = place.fold(STAGE, number).validation / f"{case}.nii.gz"
            shutil.copy(place.dataset().case(case).label, target)


def test_the_channels_lie_where_the_labels_do_however_a_sample_is_moved(stage):
    perfect(stage)
    found = stage.find()
    prepare_previous_stage(found, stage.dataset(), executor=local_executor(0))
    configuration = stage.plan().configuration(CASCADE)
    moving = {"name": "default", "rotation": {"probability": 0.7}, "scaling": {"probability": 0.7}}
    augmentation = build_augmentation(
        {**moving, "morphology": {"probability": 0}, "component_removal": {"probability": 0}},
        dimension=3, patch_size=configuration.patch_size, spacing=configuration.patch_spacing,
        mirror_axes=(0, 1, 2), layout=ChannelLayout(2, previous_labels=2),
    )  # fmt: skip
    cases = Cases(found.data, tuple(found.maps), in_memory=True, previous=found.folder)
    sampler = build_sampler({"name": "foreground", "fraction": 1.0})
    source = PatchSource(cases, Stream(0, 0, len(cases)), sampler, augmentation, configuration.patch_shape, 3, 4)
    stream = batches(Sources({"labelled": source}), first=0, device=torch.device("cpu"), workers=0)
    for batch in (found["labelled"] for found in islice(stream, 5)):
        expected = torch.stack([batch.labels == 1, batch.labels == 2], dim=1)
        assert batch.images.shape[1] == 4 and expected.any()
        assert torch.equal(batch.images[:, 2:].bool(), expected)


def test_a_sample_holds_the_held_out_label_map_of_its_place(cascade_once):
    found, dataset = cascade_once.find(), cascade_once.dataset()
    configuration = cascade_once.plan().configuration(CASCADE)
    augmentation = build_augmentation(
        {"name": "none"},
        dimension=3, patch_size=configuration.patch_size, spacing=configuration.patch_spacing,
        mirror_axes=(), layout=ChannelLayout(2, previous_labels=2),
    )  # fmt: skip
    cases = Cases(found.data, tuple(found.maps), in_memory=False, previous=found.folder)
    stream, sampler = Stream(0, 0, len(cases)), build_sampler({"name": "foreground", "fraction": 0.5})
    source = PatchSource(cases, stream, sampler, augmentation, configuration.patch_shape, 3, 2)
    for index in range(12):
        name = cases.names[stream.case(index)]
        case = cases[stream.case(index)]
        start = sampler(case, source.patch, position=index % 2, batch=2, rng=stream.rng(index))
        expected = labels_on_grid(cascade_once.held_out(name), case.record.preprocessing, dataset)
        wide = np.pad(expected, [(n, n) for n in source.patch])
        place = tuple(slice(s + n, s + 2 * n) for s, n in zip(start, source.patch, strict=True))
        sample = source.sample(index)
        assert np.array_equal(sample.previous, wide[place])
        channels = augmented_on_device([sample], augmentation, torch.device("cpu")).images[0]
        assert np.array_equal(channels[:2], sample.image)
        assert np.array_equal(channels[2:], np.stack([wide[place] == 1, wide[place] == 2]))


def test_a_cascade_learns_to_copy_a_perfect_first_stage(stage):
    perfect(stage)
    plan = json.loads(stage.plan_file.read_text())
    for name in (CASCADE, "3d_fullres"):
        configuration = plan["configurations"][name]
        configuration["augmentation"] |= {"morphology": {"probability": 0}, "component_removal": {"probability": 0}}
        configuration["network"] |= {"features": [8, 8]}
        configuration["training"] |= {"optimizer": {"name": "adamw", "learning_rate": 0.02}}
    stage.plan_file.write_text(json.dumps(plan))
    cascade, alone = (autoseg.train_fold(stage.root, n, 0, iterations=90).mean_dice for n in (CASCADE, "3d_fullres"))
    assert cascade > 0.9 and cascade > alone + 0.1, f"{cascade:.3f} with perfect label maps, {alone:.3f} without any"
