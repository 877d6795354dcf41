"""A cascade from plan to prediction: one stage's label maps are further input channels of the next."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import autoseg
from autoseg.augmentation import build_augmentation
from autoseg.cli.main import main
from autoseg.cli.pipeline import train_all
from autoseg.errors import TrainingError, WeightsError
from autoseg.evaluation.folder import evaluate_folder
from autoseg.images import read_labels, read_volume, write_labels
from autoseg.inference import predictor as predicting
from autoseg.preprocessing import previous_stage
from autoseg.preprocessing.previous_stage import (
    find_previous_stage,
    labels_on_grid,
    prepare_previous_stage,
)
from autoseg.preprocessing.run import preprocess
from autoseg.preprocessing.store import open_case
from autoseg.sampling import Stream, build_sampler
from autoseg.splits import kfold, write_splits
from autoseg.trainers.loader import Cases, PatchSource, batches, to_device
from autoseg.trainers.loop import Interrupted
from autoseg.workspace import Workspace

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"
STEPS = 4


def add_cascade(place: Workspace, **changes) -> None:
    """Add both stages to a plan, with tiny networks, and make two folds."""
    plan = json.loads(place.plan_file.read_text())
    fullres = plan["configurations"]["3d_fullres"]
    z, y, x = fullres["spacing"]
    plan["configurations"][CASCADE] = fullres | {"previous_stage": STAGE} | changes
    plan["configurations"][STAGE] = fullres | {"spacing": [z, 1.5 * y, 1.5 * x], "patch_size": [8, 12, 12]}
    place.plan_file.write_text(json.dumps(plan))
    write_splits(place.splits_file, kfold([case.name for case in place.dataset().cases], 2))
    preprocess(place, place.plan(), workers=0)


@pytest.fixture(scope="module")
def stage_once(made_once, tmp_path_factory) -> Workspace:
    """A workspace whose first stage is trained in both folds."""
    root = Path(shutil.copytree(made_once / "workspace", tmp_path_factory.mktemp("stage") / "workspace"))
    add_cascade(Workspace(root))
    for fold in (0, 1):
        autoseg.train_fold(root, STAGE, fold, iterations=30)
    return Workspace(root)


@pytest.fixture(scope="module")
def cascade_once(stage_once, tmp_path_factory) -> Workspace:
    """The same with both folds of the cascade."""
    root = Path(shutil.copytree(stage_once.root, tmp_path_factory.mktemp("cascade") / "workspace"))
    for fold in (0, 1):
        autoseg.train_fold(root, CASCADE, fold, iterations=STEPS)
    return Workspace(root)


@pytest.fixture
def stage(stage_once, tmp_path) -> Workspace:
    return Workspace(Path(shutil.copytree(stage_once.root, tmp_path / "workspace")))


@pytest.fixture
def cascade(cascade_once, tmp_path) -> Workspace:
    return Workspace(Path(shutil.copytree(cascade_once.root, tmp_path / "workspace")))


def held_out(place: Workspace, case: str) -> np.ndarray:
    """The label map of the first stage's fold that did not train on a case."""
    (fold,) = (number for number, split in enumerate(place.splits()) if case in split.val)
    return read_labels(place.fold(STAGE, fold).validation / f"{case}.nii.gz")[0]


def stored(place: Workspace, case: str):
    plan = place.plan()
    configuration = plan.configuration(CASCADE)
    previous = place.previous_labels(plan, configuration, "supervised")
    return open_case(place.data(plan, configuration), case, previous=previous)


def weights(place: Workspace, fold: int = 0) -> dict[str, torch.Tensor]:
    return load_file(place.fold(CASCADE, fold).model)


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_is_predicted_through_both_stages(cascade, made_once, tmp_path):
    phantoms = made_once / "phantoms"
    result = autoseg.predict_folder(cascade.root, phantoms / "imagesTs", tmp_path / "out", configurations=[CASCADE])
    assert len(result.done) == 2 and not result.failed
    said = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert said["members"] == {CASCADE: 2} and said["previous stages"] == {STAGE: 2}
    summary = evaluate_folder(tmp_path / "out", phantoms / "labelsTs")
    assert len(summary.cases) == 2 and 0 <= summary.mean_dice <= 1


def test_each_case_is_read_with_the_label_map_of_the_fold_that_held_it_out(cascade_once):
    dataset = cascade_once.dataset()
    for case in dataset.cases:
        found = stored(cascade_once, case.name)
        expected = labels_on_grid(held_out(cascade_once, case.name), found.record.steps, dataset)
        assert found.previous.shape == found.labels.shape and expected.any()
        assert np.array_equal(found.previous[:], expected)


def test_label_maps_come_to_the_grid_as_reference_labels_do(cascade_once):
    dataset = cascade_once.dataset()
    for case in dataset.cases:
        found = stored(cascade_once, case.name)
        assert np.array_equal(labels_on_grid(read_labels(case.label)[0], found.record.steps, dataset), found.labels[:])


def test_both_stages_are_computed_once_for_an_ensemble_of_them(cascade_once, made_once, monkeypatch):
    calls = []

    def counted(networks, image, window, device):
        calls.append((len(image), window.previous_labels))
        return real(networks, image, window, device)

    real = predicting.predict_probabilities
    monkeypatch.setattr(predicting, "predict_probabilities", counted)
    volume = read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))
    predictor = autoseg.Predictor.load(cascade_once.root, configurations=[CASCADE, STAGE], tta="none")
    scores = predictor.scores(predictor.prepare(volume))
    assert calls == [(2, 0), (3, 2)], "the first stage reads two channels, the second its label map as well"
    alone = autoseg.Predictor.load(cascade_once.root, configurations=[STAGE], tta="none")
    assert np.array_equal(scores[1].probabilities, alone.scores(alone.prepare(volume))[0].probabilities)


def test_prediction_reads_what_training_would_have_read(cascade_once, made_once, monkeypatch):
    read = []

    def kept(networks, image, window, device):
        read.append(image)
        return real(networks, image, window, device)

    real = predicting.predict_probabilities
    monkeypatch.setattr(predicting, "predict_probabilities", kept)
    volume = read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))
    predictor = autoseg.Predictor.load(cascade_once.root, configurations=[CASCADE])
    steps = predictor.prepare(volume)[1].steps
    first = autoseg.Predictor.load(cascade_once.root, configurations=[STAGE]).predict(volume)
    predictor.predict(volume)
    assert np.array_equal(read[-1][-1], labels_on_grid(first, steps, cascade_once.dataset()))


def test_named_folds_are_those_of_the_cascade(cascade_once):
    predictor = autoseg.Predictor.load(cascade_once.root, configurations=[CASCADE], folds=[1], best=True)
    (member,) = predictor.members
    assert len(member.networks) == 1 and len(member.previous.networks) == 2
    assert [stage.name for stage in predictor.stages] == [STAGE, CASCADE]


def test_prediction_needs_every_fold_of_the_first_stage(cascade):
    cascade.fold(STAGE, 1).model.unlink()
    with pytest.raises(WeightsError, match=f"found no trained fold 1, expected all of them, because {CASCADE} reads"):
        autoseg.Predictor.load(cascade.root, configurations=[CASCADE])


@pytest.mark.parametrize("lost", ["model", "label map"])
@pytest.mark.parametrize("fold", ["0", "all"])
def test_what_must_be_trained_first_is_said_before_anything_is_written(stage, capfd, lost, fold):
    folder = stage.fold(STAGE, 1)
    (folder.model if lost == "model" else next(folder.validation.glob("*.nii.gz"))).unlink()
    before = sorted(stage.root.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        main(["train-fold", str(stage.root), CASCADE, fold, "--iterations", "1"])
    said = capfd.readouterr().err.strip()
    assert exit_.value.code == 2 and "\n" not in said
    assert "fold 1 is not trained and validated" in said and said.endswith(f"{stage.root} {STAGE} 1")
    assert sorted(stage.root.rglob("*")) == before


def test_all_missing_folds_are_named(workspace):
    place = Workspace(workspace)
    add_cascade(place)
    with pytest.raises(TrainingError, match=f"label maps that {STAGE} made .* but folds 0, 1 are not trained"):
        autoseg.train_fold(workspace, CASCADE, 0)


def test_a_case_that_no_fold_held_out_is_named(stage):
    splits = json.loads(stage.splits_file.read_text())
    left = splits[1]["val"].pop()
    stage.splits_file.write_text(json.dumps(splits))
    with pytest.raises(TrainingError, match=f"splits.json: case '{left}' is in no fold's val"):
        autoseg.train_fold(stage.root, CASCADE, 0)


def find(place: Workspace, fold: int | str = 0):
    return find_previous_stage(place, place.plan(), CASCADE, fold=fold, trainer="supervised")


def test_label_maps_are_made_once_and_again_when_the_first_stage_changes(cascade):
    dataset = cascade.dataset()
    assert prepare_previous_stage(find(cascade), dataset, workers=0) == 0
    case = cascade.splits()[1].val[0]
    path = cascade.fold(STAGE, 1).validation / f"{case}.nii.gz"
    labels, geometry = read_labels(path)
    write_labels(path, np.flip(labels, axis=1), geometry)
    assert prepare_previous_stage(find(cascade), dataset, workers=0) == 1
    expected = labels_on_grid(held_out(cascade, case), stored(cascade, case).record.steps, dataset)
    assert np.array_equal(stored(cascade, case).previous[:], expected)


def test_a_killed_preparation_goes_on(stage, monkeypatch):
    dataset, found = stage.dataset(), find(stage)
    written = []

    def dies(path, record):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        real(path, record)

    real = previous_stage.write_json
    monkeypatch.setattr(previous_stage, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare_previous_stage(found, dataset, workers=0)
    assert len(list(found.folder.glob("*.b2nd"))) == 3, "the third has no record yet"
    monkeypatch.undo()
    assert prepare_previous_stage(found, dataset, workers=0) == len(dataset.cases) - 2
    assert not list(found.folder.glob(".partial*"))


@pytest.mark.slow
def test_several_processes_prepare_the_same(stage, cascade_once):
    assert prepare_previous_stage(find(stage), stage.dataset(), workers=2) == 6
    for case in stage.dataset().cases:
        assert np.array_equal(stored(stage, case.name).previous[:], stored(cascade_once, case.name).previous[:])


def test_fold_all_reads_held_out_label_maps_too(stage):
    summary = autoseg.train_fold(stage.root, CASCADE, "all", iterations=1)
    assert len(summary.cases) == 6
    case = stage.dataset().cases[0].name
    expected = labels_on_grid(held_out(stage, case), stored(stage, case).record.steps, stage.dataset())
    assert np.array_equal(stored(stage, case).previous[:], expected)


def test_one_seed_gives_one_set_of_weights_however_it_is_stopped(stage, cascade_once):
    def stop(report):
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS, listener=stop)
    autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS)
    assert same(weights(stage), weights(cascade_once))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_nothing(stage, cascade_once, workers):
    autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS, workers=workers)
    assert same(weights(stage), weights(cascade_once))


def test_a_training_does_not_go_on_with_another_first_stage(stage):
    def stop(report):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS, listener=stop)
    path = stage.fold(STAGE, 1).validation / f"{stage.splits()[1].val[0]}.nii.gz"
    labels, geometry = read_labels(path)
    write_labels(path, np.where(labels == 1, 2, labels), geometry)
    with pytest.raises(TrainingError, match="begun with another previous_stage"):
        autoseg.train_fold(stage.root, CASCADE, 0, iterations=STEPS)


@pytest.mark.slow
def test_a_cascade_may_follow_a_cascade_and_slices_a_volume(cascade, made_once):
    plan = json.loads(cascade.plan_file.read_text())
    plan["configurations"]["2d"]["previous_stage"] = CASCADE
    cascade.plan_file.write_text(json.dumps(plan))
    assert autoseg.train_fold(cascade.root, "2d", 0, iterations=1).cases
    predictor = autoseg.Predictor.load(cascade.root, configurations=["2d", CASCADE])
    assert [stage.name for stage in predictor.stages] == [STAGE, CASCADE, "2d"]
    volume = read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))
    assert predictor.predict(volume).shape == volume.array.shape[1:]


def test_run_trains_the_first_stage_in_every_fold_before_the_cascade(workspace):
    place = Workspace(workspace)
    add_cascade(place)
    plan = json.loads(place.plan_file.read_text())
    plan["configurations"] = {name: plan["configurations"][name] for name in (CASCADE, STAGE)}
    place.plan_file.write_text(json.dumps(plan))
    assert train_all(workspace, iterations=1) == 0
    assert all(place.fold(name, fold).summary.exists() for name in (CASCADE, STAGE) for fold in (0, 1))


def perfect(place: Workspace) -> None:
    """Let the first stage have predicted the reference label maps."""
    for number, split in enumerate(place.splits()):
        for case in split.val:
            target = place.fold(STAGE, number).validation / f"{case}.nii.gz"
            shutil.copy(place.dataset().case(case).label, target)


def test_the_channels_lie_where_the_labels_do_however_a_sample_is_moved(stage):
    perfect(stage)
    found = find(stage)
    prepare_previous_stage(found, stage.dataset(), workers=0)
    configuration = stage.plan().configuration(CASCADE)
    moving = {"name": "default", "rotation": {"probability": 0.7}, "scaling": {"probability": 0.7}}
    augmentation = build_augmentation(
        {**moving, "morphology": {"probability": 0}, "component_removal": {"probability": 0}},
        dimension=3, patch_size=configuration.patch_size, spacing=configuration.patch_spacing,
        mirror_axes=(0, 1, 2), channels=2, previous_labels=2,
    )  # fmt: skip
    cases = Cases(found.data, tuple(found.maps), in_memory=True, previous=found.folder)
    sampler = build_sampler({"name": "foreground", "fraction": 1.0})
    source = PatchSource(cases, Stream(0, 0, len(cases)), sampler, augmentation, configuration.patch_shape, 3, 4)
    for batch in islice(batches(source, first=0, device=torch.device("cpu"), workers=0), 5):
        expected = torch.stack([batch.labels == 1, batch.labels == 2], dim=1)
        assert batch.images.shape[1] == 4 and expected.any()
        assert torch.equal(batch.images[:, 2:].bool(), expected)


def test_a_sample_holds_the_held_out_label_map_of_its_place(cascade_once):
    found, dataset = find(cascade_once), cascade_once.dataset()
    configuration = cascade_once.plan().configuration(CASCADE)
    augmentation = build_augmentation(
        {"name": "none"},
        dimension=3, patch_size=configuration.patch_size, spacing=configuration.patch_spacing,
        mirror_axes=(), channels=2, previous_labels=2,
    )  # fmt: skip
    cases = Cases(found.data, tuple(found.maps), in_memory=False, previous=found.folder)
    stream, sampler = Stream(0, 0, len(cases)), build_sampler({"name": "foreground", "fraction": 0.5})
    source = PatchSource(cases, stream, sampler, augmentation, configuration.patch_shape, 3, 2)
    for index in range(12):
        name = cases.names[stream.case(index)]
        case = cases[stream.case(index)]
        start = sampler(case, source.patch, position=index % 2, batch=2, rng=stream.rng(index))
        expected = labels_on_grid(held_out(cascade_once, name), case.record.steps, dataset)
        wide = np.pad(expected, [(n, n) for n in source.patch])
        place = tuple(slice(s + n, s + 2 * n) for s, n in zip(start, source.patch, strict=True))
        sample = source.sample(index)
        assert np.array_equal(sample.previous, wide[place])
        channels = to_device([sample], augmentation, torch.device("cpu")).images[0]
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
