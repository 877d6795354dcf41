"""Computed channels from dataset.json to predictions, and what must not leak on the way."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import autoseg
from autoseg.bundle.writing import export_bundle
from autoseg.data.layouts import load_dataset
from autoseg.errors import PlanError
from autoseg.files.weights import load_tensors
from autoseg.fingerprint.measuring import dataset_findings, examine_all
from autoseg.images.volumes import read_geometry, read_labels, write_labels
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.extra.files import case_faults
from autoseg.preprocessing.store import open_case
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

DECLARED = {
    "place": {"name": "position", "axes": ["z", "x"]},
    "usual": {"name": "prior_map", "grid": [4, 5, 6]},
    "eye": {"name": "distance", "points": "eyes"},
    "core": {"name": "distance", "mask": "cores", "signed": True},
}
STORED = 2 + 4 + 1 + 1
MAP = "layer.map"


def declare(folder: Path, **fields) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def landmarks(phantoms) -> Path:
    """Phantoms with a point and a mask each."""
    for part in ("Tr", "Ts"):
        images = phantoms / f"images{part}"
        for folder in ("eyes", "cores"):
            (images / folder).mkdir()
        for path in (phantoms / f"labels{part}").glob("*.nii.gz"):
            name, geometry = path.name.removesuffix(".nii.gz"), read_geometry(path)
            (images / "eyes" / f"{name}.json").write_text(json.dumps([list(geometry.origin)]))
            write_labels(images / "cores" / f"{name}.nii.gz", read_labels(path)[0] == 2, geometry)
    declare(phantoms, extra_channels=DECLARED)
    return phantoms


def prepare(folder: Path, place: Path, name: str, shrink_plan) -> Workspace:
    workspace = autoseg.plan_and_preprocess(
        folder, workspace=place, configurations=[name], time_budget=3600.0, workers=0
    )
    shrink_plan(workspace.plan_file)
    return workspace


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_a_network_trains_with_and_predicts_by_every_kind(landmarks, tmp_path, shrink_plan, name):
    workspace = prepare(landmarks, tmp_path / "w", name, shrink_plan)
    plan = workspace.plan()
    assert plan.configuration(name).extra_channels == {**DECLARED, "usual": {**DECLARED["usual"], "maps": 2}}
    stored = open_case(workspace.data(plan, plan.configuration(name)), "phantom_000")
    assert stored.image.shape[0] == 2 + STORED
    autoseg.train_fold(workspace.root, name, 0, iterations=1)
    weights = load_tensors(workspace.fold(name, 0).model)
    assert weights[MAP].shape == (2, 4, 5, 6) and 0.05 < float(weights[MAP].max()) <= 1
    first = next(tensor for key, tensor in weights.items() if key.startswith("network.") and tensor.ndim > 2)
    assert first.shape[1] == 2 + STORED - 4 + 2
    result = autoseg.predict_folder(workspace.root, landmarks / "imagesTs", tmp_path / "out")
    assert result.done == ("phantom_006", "phantom_007")
    (landmarks / "imagesTs" / "eyes" / "phantom_007.json").unlink()
    result = autoseg.predict_folder(workspace.root, landmarks / "imagesTs", tmp_path / "again")
    assert result.done == ("phantom_006",)
    assert "extra_channels.eye" in result.failed["phantom_007"] and "no such file" in result.failed["phantom_007"]


def test_nothing_of_validation_labels_reaches_a_folds_training(phantoms, tmp_path, shrink_plan):
    declare(phantoms, extra_channels={"usual": DECLARED["usual"]})
    workspace = prepare(phantoms, tmp_path / "w", "3d_fullres", shrink_plan)
    plan = workspace.plan()
    folder = workspace.data(plan, plan.configuration("3d_fullres"))
    split = workspace.splits()[0]
    autoseg.train_fold(workspace.root, "3d_fullres", 0, iterations=1)
    weights = load_tensors(workspace.fold("3d_fullres", 0).model)
    images = {name: open_case(folder, name).image[:] for name in split.train}

    def everywhere(name):
        path = phantoms / "labelsTr" / f"{name}.nii.gz"
        labels, geometry = read_labels(path)
        write_labels(path, np.ones_like(labels), geometry)

    everywhere(split.val[0])
    prepare(phantoms, tmp_path / "w", "3d_fullres", shrink_plan)
    autoseg.train_fold(workspace.root, "3d_fullres", 0, iterations=1, restart=True)
    again = load_tensors(workspace.fold("3d_fullres", 0).model)
    assert all(np.array_equal(weights[key], again[key]) for key in weights)
    assert all(np.array_equal(images[name], open_case(folder, name).image[:]) for name in split.train)

    everywhere(split.train[0])
    prepare(phantoms, tmp_path / "w", "3d_fullres", shrink_plan)
    autoseg.train_fold(workspace.root, "3d_fullres", 0, iterations=1, restart=True)
    assert not np.array_equal(weights[MAP], load_tensors(workspace.fold("3d_fullres", 0).model)[MAP])


def test_a_forest_refuses_prior_maps(phantoms, tmp_path, shrink_plan):
    declare(phantoms, extra_channels={"usual": DECLARED["usual"]})
    with pytest.raises(PlanError, match="found the extra channel 'usual', which needs its own network layer"):
        autoseg.plan_and_preprocess(phantoms, workspace=tmp_path / "work", trainer="random_forest", workers=0)


def test_a_map_of_another_number_of_labels_is_told(phantoms, tmp_path, shrink_plan):
    declare(phantoms, extra_channels={"usual": DECLARED["usual"]})
    workspace = prepare(phantoms, tmp_path / "work", "3d_fullres", shrink_plan)
    plain = json.loads(workspace.plan_file.read_text())
    plain["configurations"]["3d_fullres"]["extra_channels"]["usual"]["maps"] = 5
    workspace.plan_file.write_text(json.dumps(plain))
    with pytest.raises(PlanError, match=r"'usual': 'maps': found 5, expected 2, the label values"):
        autoseg.train_fold(workspace.root, "3d_fullres", 0)


def test_each_fold_has_the_frequencies_of_its_own_cases(phantoms, tmp_path, shrink_plan):
    from autoseg.preprocessing.extra import TrainingCases
    from autoseg.preprocessing.extra.prior_map import frequency_maps

    declare(phantoms, extra_channels={"usual": DECLARED["usual"]})
    workspace = prepare(phantoms, tmp_path / "w", "3d_fullres", shrink_plan)
    configuration = workspace.plan().configuration("3d_fullres")
    folder = workspace.data(workspace.plan(), configuration)
    dataset, plan = workspace.dataset(), workspace.plan()
    (usual,) = channel_layout(configuration, dataset).computed
    alone = {
        case.name: frequency_maps(
            usual.kind, TrainingCases((case.name,), lambda name: open_case(folder, name).labels[:], dataset, plan)
        )
        for case in dataset.cases
    }
    train = workspace.splits()[1].train
    autoseg.train_fold(workspace.root, "3d_fullres", 1, iterations=1)
    kept = load_tensors(workspace.fold("3d_fullres", 1).model)[MAP]
    assert np.allclose(kept, np.mean([alone[name] for name in train], axis=0), atol=1e-6)
    labels = open_case(folder, train[0]).labels[:]
    assert alone[train[0]][1].mean() == pytest.approx((labels == 2).mean(), abs=1e-6)


def test_a_map_from_a_file_is_turned_as_the_images_are(phantoms, tmp_path, shrink_plan):
    labels = phantoms / "labelsTr" / "phantom_000.nii.gz"
    image = sitk.Cast(sitk.ReadImage(str(labels)), sitk.sitkFloat32)
    sitk.WriteImage(sitk.Compose(image, image, image), str(phantoms / "atlas.nii.gz"))
    declare(phantoms, extra_channels={"atlas": {"name": "prior_map", "file": "atlas.nii.gz"}})
    workspace = prepare(phantoms, tmp_path / "w", "3d_fullres", shrink_plan)
    assert workspace.plan().configuration("3d_fullres").extra_channels["atlas"]["maps"] == 3
    autoseg.train_fold(workspace.root, "3d_fullres", 0, iterations=1)
    kept = load_tensors(workspace.fold("3d_fullres", 0).model)[MAP]
    assert float(kept.mean()) == pytest.approx(float(sitk.GetArrayFromImage(image).mean()), abs=1e-5)
    export_bundle(workspace.root, tmp_path / "bundle.zip")
    (phantoms / "atlas.nii.gz").unlink()
    # The map is kept with the weights, and nothing tells where the file was.
    assert len(autoseg.predict_folder(tmp_path / "bundle.zip", phantoms / "imagesTs", tmp_path / "out").done) == 2
    assert autoseg.predict_folder(workspace.root, phantoms / "imagesTs", tmp_path / "own").done
    for name in ("phantom_006", "phantom_007"):
        labels = [read_labels(tmp_path / folder / f"{name}.nii.gz")[0] for folder in ("out", "own")]
        assert np.array_equal(*labels)
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        told = [bundle.read(name).decode() for name in bundle.namelist() if name.endswith((".json", ".md"))]
    assert not any(str(phantoms) in text for text in told)


def test_files_of_extra_channels_are_checked_and_their_change_makes_new_data(landmarks, tmp_path, shrink_plan):
    workspace = prepare(landmarks, tmp_path / "w", "3d_fullres", shrink_plan)
    folder = workspace.data(workspace.plan(), workspace.plan().configuration("3d_fullres"))
    before = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("phantom_00?.json"))}
    (landmarks / "imagesTr" / "eyes" / "phantom_002.json").write_text("[[500.0, 0.0, 0.0]]")
    prepare(landmarks, tmp_path / "w", "3d_fullres", shrink_plan)
    assert [path.name for path in before if path.stat().st_mtime_ns != before[path]] == ["phantom_002.json"]
    (landmarks / "imagesTr" / "eyes" / "phantom_003.json").unlink()
    shutil.copy(landmarks / "imagesTr" / "cores" / "phantom_001.nii.gz", landmarks / "imagesTr" / "cores" / "x.nii.gz")
    dataset = load_dataset(landmarks)
    faults = [
        f
        for f in dataset_findings(dataset, examine_all(dataset, executor=local_executor(0), check=case_faults))
        if f.severity == "error"
    ]
    assert [fault.case for fault in faults] == ["phantom_003"]
    assert faults[0].message.startswith("dataset.json: field 'extra_channels.eye': ")


@pytest.mark.parametrize(
    "extra", [{"a": {"name": "nothing"}}, {"a": {"name": "distance", "points": "none"}}, {"a": {"name": "distance"}}]
)
def test_bad_input_ends_with_status_2_and_nothing_written(phantoms, tmp_path, capfd, extra):
    from autoseg.cli.main import main

    declare(phantoms, extra_channels=extra)
    with pytest.raises(SystemExit) as exit_:
        main(["plan-and-preprocess", str(phantoms), "--workspace", str(tmp_path / "w"), "--workers", "0"])
    said = capfd.readouterr().err
    assert exit_.value.code == 2
    assert "field 'extra_channels.a'" in said.replace("\n", " ")
    assert not (tmp_path / "w" / "plan.json").exists()


def test_pictures_may_lack_a_channel_and_have_computed_ones(tmp_path, shrink_plan):
    from PIL import Image

    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    for part in ("imagesTr/eyes", "imagesTr/cores", "labelsTr", "imagesTs/eyes", "imagesTs/cores"):
        (folder / part).mkdir(parents=True)
    for number in range(6):
        images, name = folder / ("imagesTr" if number < 5 else "imagesTs"), f"p{number}"
        mask = np.zeros((20, 24), dtype=np.uint8)
        mask[5:12, 4 + number : 12 + number] = 1
        for channel in (0,) if number in (1, 5) else (0, 1):
            grey = np.clip(rng.normal(100, 10, mask.shape) + 80 * mask, 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(images / f"{name}_{channel:04d}.png")
        (images / "eyes" / f"{name}.json").write_text("[[5.0, 3.0]]")
        Image.fromarray(mask).save(images / "cores" / f"{name}.png")
        if number < 5:
            Image.fromarray(mask).save(folder / "labelsTr" / f"{name}.png")
    description = {"channel_names": {"0": "a", "1": "b"}, "labels": {"background": 0, "square": 1}}
    extra = {**DECLARED, "usual": {"name": "prior_map"}}
    (folder / "dataset.json").write_text(
        json.dumps({**description, "file_ending": ".png", "optional_channels": {"b": -4}, "extra_channels": extra})
    )
    assert load_dataset(folder).case("p1").missing_channels == (1,)
    workspace = prepare(folder, tmp_path / "w", "2d", shrink_plan)
    plan = workspace.plan()
    stored = open_case(workspace.data(plan, plan.configuration("2d")), "p1").image[:]
    assert (stored[1] == -4).all()
    y, x = np.mgrid[:20, :24]
    assert np.allclose(stored[8, 0] * 100, np.hypot(x - 5, y - 3), atol=1e-3)
    assert (stored[9, 0] < 0).sum() == 7 * 8
    autoseg.train_fold(workspace.root, "2d", 0, iterations=1)
    assert load_tensors(workspace.fold("2d", 0).model)[MAP].shape == (1, 1, 20, 24)
    assert autoseg.predict_folder(workspace.root, folder / "imagesTs", tmp_path / "out").done == ("p5",)
