"""What bad input gets: one line that names file or field, what was found and what to do, and exit status 2."""

from __future__ import annotations

import errno
import gzip
import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import typer

from autoseg.cli.guard import guarded
from autoseg.cli.main import main
from autoseg.workspace.paths import Workspace


def autoseg(capfd, *words):
    """Run a command; return its exit status and what it said."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    said = capfd.readouterr()
    # Tables wrap long lines; what is said is compared without regard to that.
    return exit_.value.code or 0, said.out + said.err


def change(path: Path, function):
    """Rewrite an image as a function of its ITK image."""
    image = function(sitk.ReadImage(str(path)))
    path.unlink()
    sitk.WriteImage(image, str(path))


def voxels(path: Path, function):
    """Rewrite an image's voxels, keeping where it lies."""

    def changed(image):
        made = sitk.GetImageFromArray(function(sitk.GetArrayFromImage(image)))
        made.CopyInformation(image)
        return made

    change(path, changed)


def edit(path: Path, function):
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def poke(array, value):
    array = array.astype(np.float32)
    array[0, 0, 0] = value
    return array


def huge_header(path: Path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<8h", content, 40, 3, 30000, 30000, 3000, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(content)))


def directed(image):
    image.SetDirection((1, 0, 0, 0, 0, -1, 0, 1, 0))
    return image


def spaced(image):
    image.SetSpacing((1.0, 1.0, 9.0))
    return image


def moved(image):
    image.SetOrigin((500.0, 0.0, 0.0))
    return image


def cropped(image):
    return image[:, :, :-1]


IMAGE, LABEL = "imagesTr/phantom_000_0000.nii.gz", "labelsTr/phantom_000.nii.gz"
SECOND = "imagesTr/phantom_000_0001.nii.gz"

DATASET_FAULTS = {
    "missing folder": (shutil.rmtree, "found nothing, expected a dataset folder"),
    "empty folder": (lambda d: (shutil.rmtree(d), d.mkdir()), r"dataset.json: not found.*--images"),
    "a file for a folder": (lambda d: (shutil.rmtree(d), d.write_text("x")), "found a file, expected a dataset folder"),
    "dataset.json is no JSON": (lambda d: (d / "dataset.json").write_text("{"), "not valid JSON at line 1"),
    "dataset.json is a list": (lambda d: (d / "dataset.json").write_text("[]"), "found a list, expected an object"),
    "channels of a wrong kind": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(channel_names=3)),
        "field 'channel_names', found 3",
    ),
    "channels with a gap": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(channel_names={"0": "T1", "2": "T2"})),
        "without a gap",
    ),
    "channel names that are no text": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(channel_names={"0": None, "1": "T2"})),
        "field 'channel_names', found None for a name",
    ),
    "labels as a list": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(labels=["body", "core"])),
        r"field 'labels', found \['body', 'core'\]",
    ),
    "a label value beyond 32 bits": (
        lambda d: edit(d / "dataset.json", lambda j: j["labels"].update(core=2**40)),
        "field 'labels.core', found 1099511627776, expected a whole number from 0 to 2147483647",
    ),
    "a file ending of another kind": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(file_ending=3)),
        "field 'file_ending', found 3, expected one of .nii.gz",
    ),
    "an unknown file ending": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(file_ending=".gif")),
        "field 'file_ending', found '.gif'",
    ),
    "a name that leads elsewhere": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(name="../elsewhere")),
        "field 'name', found '../elsewhere', expected a name without '/'",
    ),
    "a listed case with a mistyped key": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(dataset={"a": {"images": [IMAGE], "labels": LABEL}})),
        "field 'dataset.a', found .*expected images and label",
    ),
    "no case with a label map": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(dataset={"a": {"images": [IMAGE]}})),
        "found 1 cases, none with a label map, expected at least one",
    ),
    "a listed image that is not there": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(dataset={"a": {"images": "b.nii", "label": LABEL}})),
        "b.nii: no such file, expected an image",
    ),
    "one group of all cases": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(groups={f"phantom_{i:03}": "p" for i in range(6)})),
        "field 'groups', found one group with all cases, expected at least two",
    ),
    "groups of a wrong kind": (
        lambda d: edit(d / "dataset.json", lambda j: j.update(groups=[1])),
        r"field 'groups', found \[1\]",
    ),
    "a file for imagesTr": (
        lambda d: (shutil.rmtree(d / "imagesTr"), (d / "imagesTr").write_text("x")),
        "imagesTr: no such folder, expected the training images",
    ),
    "an empty image file": (lambda d: (d / IMAGE).write_bytes(b""), f"{IMAGE}: not an image"),
    "a folder for a label map": (lambda d: ((d / LABEL).unlink(), (d / LABEL).mkdir()), f"{LABEL}: is a folder"),
    "no labels": (lambda d: edit(d / "dataset.json", lambda j: j.update(labels={})), "field 'labels'"),
    "a doubled label value": (
        lambda d: edit(d / "dataset.json", lambda j: j["labels"].update(other=2)),
        "found the value 2 twice",
    ),
    "a negative label value": (
        lambda d: edit(d / "dataset.json", lambda j: j["labels"].update(core=-2)),
        "field 'labels.core', found -2",
    ),
    "regions": (lambda d: edit(d / "dataset.json", lambda j: j["labels"].update(core=[1, 2])), "regions_class_order"),
    "no images": (lambda d: [p.unlink() for p in (d / "imagesTr").iterdir()], "found no training images"),
    "a truncated image": (
        lambda d: (d / IMAGE).write_bytes((d / IMAGE).read_bytes()[:3000]),
        f"{IMAGE}: truncated or damaged",
    ),
    "a truncated label map": (
        lambda d: (d / LABEL).write_bytes((d / LABEL).read_bytes()[:-20]),
        f"{LABEL}: truncated or damaged",
    ),
    "text named .nii.gz": (lambda d: (d / IMAGE).write_text("hello"), f"{IMAGE}: not an image"),
    "a header that promises too much": (lambda d: huge_header(d / IMAGE), "the header promises"),
    "a label map of another size": (lambda d: change(d / LABEL, cropped), f"{LABEL}: does not lie .*size"),
    "a label map of another spacing": (lambda d: change(d / LABEL, spaced), f"{LABEL}: does not lie .*spacing"),
    "a label map of another origin": (lambda d: change(d / LABEL, moved), f"{LABEL}: does not lie .*origin"),
    "a label map of another direction": (lambda d: change(d / LABEL, directed), f"{LABEL}: does not lie .*direction"),
    "channels of different size": (lambda d: change(d / SECOND, cropped), f"{SECOND}: does not lie on the grid .*size"),
    "channels of different spacing": (lambda d: change(d / SECOND, spaced), f"{SECOND}: does not lie .*spacing"),
    "a missing channel": (lambda d: (d / SECOND).unlink(), r"found 1 channels, expected 2 \(T1, T2\)"),
    "a missing label map": (lambda d: (d / LABEL).unlink(), f"{LABEL}: no such label map"),
    "NaN": (lambda d: voxels(d / IMAGE, lambda a: poke(a, np.nan)), f"{IMAGE}: 1 voxels are NaN or infinite"),
    "infinity": (lambda d: voxels(d / SECOND, lambda a: poke(a, np.inf)), f"{SECOND}: 1 voxels are NaN or infinite"),
    "an unknown label": (
        lambda d: voxels(d / LABEL, lambda a: np.where(a == 2, 5, a).astype(np.uint8)),
        r"found label 5, expected one of 0 \(background\), 1 \(body\), 2 \(core\)",
    ),
    "a wild label": (
        lambda d: voxels(d / LABEL, lambda a: np.where(a == 2, 2_000_000_000, a.astype(np.int32))),
        "found label 2000000000, expected one of 0",
    ),
    "labels between whole numbers": (
        lambda d: voxels(d / LABEL, lambda a: poke(a, 1.5)),
        "found label 1.5, expected whole numbers",
    ),
    "a negative label": (
        lambda d: voxels(d / LABEL, lambda a: poke(a, -1).astype(np.int16)),
        "found label -1, expected labels from 0",
    ),
    "a doubled case": (
        lambda d: sitk.WriteImage(sitk.ReadImage(str(d / IMAGE)), str(d / "imagesTr/phantom_000_0000.nrrd")),
        None,
    ),
    "all label maps empty": (
        lambda d: [voxels(p, np.zeros_like) for p in (d / "labelsTr").iterdir()],
        "every label map is empty|there is nothing to learn",
    ),
}


@pytest.mark.parametrize("fault", [name for name, (_, message) in DATASET_FAULTS.items() if message])
def test_faults_of_a_dataset(fault, phantoms, tmp_path, capfd):
    spoil, message = DATASET_FAULTS[fault]
    spoil(phantoms)
    status, said = autoseg(capfd, "plan-and-preprocess", phantoms, "-w", tmp_path / "made", "--workers", 0)
    assert status == 2
    assert re.search(message, said), said
    errors = [line for line in said.splitlines() if line.startswith("autoseg: ")]
    assert len(errors) == 1 and "Traceback" not in said
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


def test_a_case_in_two_files(phantoms, tmp_path, capfd):
    images, labels = phantoms / "imagesTr", phantoms / "labelsTr"
    sitk.WriteImage(sitk.ReadImage(str(phantoms / IMAGE)), str(images / "phantom_000_0000.nrrd"))
    status, said = autoseg(
        capfd, "plan-and-preprocess", "--images", images, "--labels", labels, "-w", tmp_path / "made"
    )
    assert status == 2 and "case 'phantom_000' exists twice" in said


def test_check_lists_every_fault_and_changes_nothing(phantoms, tmp_path, monkeypatch, capfd):
    (phantoms / IMAGE).write_text("hello")
    (phantoms / "labelsTr/phantom_001.nii.gz").unlink()
    voxels(phantoms / "labelsTr/phantom_002.nii.gz", np.zeros_like)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, said = autoseg(capfd, "check", phantoms, "--workers", 0)
    assert status == 2 and "2 errors, 1 warnings" in said
    for case in ("phantom_000", "phantom_001", "phantom_002"):
        assert case in said
    assert sorted(tmp_path.rglob("*")) == before


ACCEPTED = {
    "a constant image": (lambda d: voxels(d / IMAGE, np.ones_like), "channel 0 is constant"),
    "an empty label map": (lambda d: voxels(d / LABEL, np.zeros_like), "the label map is empty"),
    "whole labels as floats": (lambda d: voxels(d / LABEL, lambda a: a.astype(np.float32)), ""),
    "fewer cases than folds": (
        lambda d: [p.unlink() for p in d.glob("*Tr/*") if not p.name.startswith(("phantom_000", "phantom_001"))],
        "2 cases are fewer than 5 folds: making 2 folds",
    ),
    "a one-slice volume": (lambda d: [change(d / f, lambda i: i[:, :, :1]) for f in (IMAGE, SECOND, LABEL)], ""),
    "a tiny volume": (lambda d: [change(d / f, lambda i: i[8:12, 8:12, 3:5]) for f in (IMAGE, SECOND, LABEL)], ""),
}


@pytest.mark.parametrize("oddity", ACCEPTED)
def test_oddities_that_are_accepted(oddity, phantoms, tmp_path, capfd):
    make, warning = ACCEPTED[oddity]
    make(phantoms)
    work = tmp_path / "made"
    status, said = autoseg(
        capfd, "plan-and-preprocess", phantoms, "-w", work, "--workers", 0, "-c", "3d_fullres", "--time-budget", "1h"
    )
    assert status == 0, said
    assert warning in said


def configuration(plan):
    return plan["configurations"]["3d_fullres"]


PLAN_FAULTS = {
    "a wrong type": (
        lambda p: configuration(p).update(batch_size="many"),
        r"field 'configurations.3d_fullres.batch_size', found 'many'",
    ),
    "an unknown field": (lambda p: configuration(p).update(batchsize=3), r"3d_fullres.batchsize', found 3"),
    "a missing field": (lambda p: configuration(p).pop("spacing"), "field 'configurations.3d_fullres.spacing'"),
    "a patch of two axes": (
        lambda p: configuration(p).update(patch_size=[8, 8]),
        "patch_size', found .8, 8., expected 3",
    ),
    "a spacing of zero": (
        lambda p: configuration(p).update(spacing=[0, 1, 1]),
        "spacing', found .* expected millimetres",
    ),
    "no batch": (lambda p: configuration(p).update(batch_size=0), "batch_size', found 0"),
    "an unknown network": (
        lambda p: configuration(p)["network"].update(name="unett"),
        "networks: found 'unett', expected one of: unet",
    ),
    "an unknown argument": (lambda p: configuration(p)["network"].update(depth=3), "networks 'unet': .*'depth'"),
    "an even kernel": (lambda p: configuration(p)["network"].update(kernels=[[2, 2, 2]] * 2), "even kernel"),
    "an unknown loss": (lambda p: configuration(p)["loss"].update(name="dice"), "losses: found 'dice', expected"),
    "an unknown optimizer": (
        lambda p: configuration(p)["training"]["optimizer"].update(name="adamw2"),
        "optimizers: found 'adamw2', expected one of: adamw",
    ),
    "an unknown schedule": (
        lambda p: configuration(p)["training"]["schedule"].update(name="cosin"),
        "schedules: found 'cosin', expected one of: cosine",
    ),
    "an unknown sampler": (lambda p: configuration(p)["sampling"].update(name="fg"), "samplers: found 'fg'"),
    "a share of seven": (
        lambda p: configuration(p)["sampling"].update(fraction=7),
        r"plan.json: field 'configurations.3d_fullres.sampling.fraction', found 7, expected 0 to 1\n",
    ),
    "an unknown augmentation": (
        lambda p: configuration(p)["augmentation"].update(name="defualt"),
        "augmentations: found 'defualt', expected one of: default",
    ),
    "neither steps nor time": (
        lambda p: configuration(p)["training"].update(time_budget=None, iterations=None),
        "found neither iterations nor time_budget",
    ),
    "a newer version": (lambda p: p.update(version=99), "found 99, expected 3: a newer autoseg"),
    "no version": (
        lambda p: p.update(version=0),
        "field 'version', found 0, expected 3: an earlier autoseg .*plan-and-preprocess",
    ),
    "no configurations": (lambda p: p.update(configurations={}), "field 'configurations', found none"),
    "a patch that does not halve": (
        lambda p: configuration(p).update(patch_size=[7, 16, 16]),
        r"patch_size', found \[7, 16, 16\], expected multiples of \[2, 2, 2\]",
    ),
    "gradients cut to nothing": (
        lambda p: configuration(p)["training"].update(gradient_clip=0),
        "training.gradient_clip', found 0.0, expected a number above 0",
    ),
    "an unknown argument of the loss": (
        lambda p: configuration(p)["loss"].update(smoothness=1),
        "losses 'dice_cross_entropy': .*'smoothness'; it takes: ",
    ),
    "a name for an augmentation": (
        lambda p: configuration(p).update(augmentation="default"),
        "3d_fullres.augmentation', found 'default'",
    ),
    "an axis mirrored twice": (lambda p: p.update(mirror_axes=[0, 0]), "field 'mirror_axes', found .0, 0."),
    "axes out of order": (lambda p: p.update(transpose=[0, 0, 1]), "field 'transpose'"),
    "a patch that is all margin": (
        lambda p: configuration(p).update(network={"name": "deepmedic"}),
        r"field 'configurations.3d_fullres.patch_size', found .8, 16, 16., expected at least .49, 49, 49.",
    ),
    "a batch of a single voxel": (
        lambda p: configuration(p).update(
            network={"name": "deepmedic", "features": [2]}, patch_size=[7] * 3, batch_size=1
        ),
        "field 'configurations.3d_fullres.network', .* more than 1 value per channel",
    ),
    "a latent network of other labels": (
        lambda p: configuration(p)["network"].update(name="probabilistic_unet", labels=5),
        r"network.labels', found 5, expected 2, the label values of dataset .* plan again with --replan",
    ),
    "another normalization": (
        lambda p: configuration(p).update(normalization=[{"name": "rescale"}, {"name": "rescale"}]),
        "not preprocessed; run",
    ),
}


@pytest.mark.parametrize("fault", PLAN_FAULTS)
def test_faults_of_an_edited_plan(fault, workspace, capfd):
    spoil, message = PLAN_FAULTS[fault]
    edit(workspace / "plan.json", spoil)
    status, said = autoseg(capfd, "train-fold", workspace, "3d_fullres", 0, "--iterations", 1)
    assert status == 2
    assert re.search(message, said), said
    assert len([line for line in said.splitlines() if line.startswith("autoseg: ")]) == 1


USE = {
    "no workspace": (["train-fold", "nowhere", "2d", 0], "nowhere: no such workspace"),
    "unknown configuration": (["train-fold", "WORK", "4d", 0], "configuration '4d' is not in the plan"),
    "unknown fold": (["train-fold", "WORK", "2d", 9], "fold 9: not in splits.json, expected 0 to 4"),
    "a fold that is no number": (["train-fold", "WORK", "2d", "first"], "fold 'first': expected a number"),
    "an unknown trainer": (
        ["run", "DATA", "--trainer", "supervise"],
        "trainers: found 'supervise'",
    ),
    "an unknown device": (["train-fold", "WORK", "2d", 0, "--device", "tpu"], "device 'tpu'"),
    "a device that is not there": (["train-fold", "WORK", "2d", 0, "--device", "cuda:7"], "device 'cuda:7'"),
    "a bad duration": (["train-fold", "WORK", "2d", 0, "--time-budget", "soon"], "time 'soon': expected a duration"),
    "a bad size": (["plan", "WORK", "--memory", "lots"], "memory 'lots': expected a size"),
    "too little memory": (["plan", "WORK", "--memory", "100KB"], "memory: found 100 KB, expected at least"),
    "an unknown planner": (["plan", "WORK", "--planner", "unest"], "planners: found 'unest', expected one of: unet"),
    "an unknown option": (["plan", "WORK", "--memroy", "1GB"], "No such option"),
    "nothing trained": (["predict-folder", "WORK", "DATA/imagesTs", "OUT"], "no fold is trained"),
    "an empty folder of images": (["predict-folder", "WORK", "EMPTY", "OUT"], "EMPTY: found no images"),
    "no folder of images": (["predict-folder", "WORK", "nowhere", "OUT"], "nowhere: no such folder"),
    "no predictions": (["evaluate", "EMPTY", "DATA/labelsTr"], "found no label maps"),
    "no dataset at all": (["plan-and-preprocess"], "expected either a dataset folder or both --images and --labels"),
    "the dataset's own folder as workspace": (
        ["plan-and-preprocess", "DATA", "-w", "DATA", "--workers", 0],
        "is the dataset's own folder; name another --workspace",
    ),
    "workers below zero": (["preprocess", "WORK", "--workers", -1], "Invalid value for '--workers'"),
    "an unknown configuration to plan": (["plan", "WORK", "-c", "4d"], "configuration '4d': expected one of 2d"),
    "a size of nothing": (["plan", "WORK", "--memory", "0GB"], "memory '0GB': expected a size above zero"),
    "a dataset for a workspace": (["train-fold", "DATA", "2d", 0], "plan.json: not found; run 'autoseg plan-and-pre"),
    "predictions over their images": (
        ["predict-folder", "WORK", "DATA/imagesTs", "DATA/imagesTs"],
        "is the folder of the images, which would be overwritten",
    ),
    "only images": (["check", "--images", "DATA/imagesTr"], "both --images and --labels"),
    "unknown splits": (["plan-and-preprocess", "DATA", "-w", "OUT", "--splits", "x"], "splits 'x'"),
}


@pytest.mark.parametrize("use", USE)
def test_wrong_use(use, workspace, phantoms, tmp_path, capfd):
    words, message = USE[use]
    (tmp_path / "EMPTY").mkdir()
    places = {"WORK": workspace, "DATA": phantoms, "OUT": tmp_path / "out", "EMPTY": tmp_path / "EMPTY"}
    resolved = [re.sub(r"^(WORK|DATA|OUT|EMPTY)", lambda m: str(places[m[0]]), str(word)) for word in words]
    status, said = autoseg(capfd, *resolved)
    assert status == 2
    assert re.search(message, said), said
    assert "Traceback" not in said


def test_broken_files_of_a_workspace(workspace, capfd):
    splits, plan = workspace / "splits.json", workspace / "plan.json"
    kept = splits.read_text()
    edit(splits, lambda s: s[0]["val"].append("nobody"))
    status, said = autoseg(capfd, "train-fold", workspace, "2d", 0)
    assert status == 2 and "case 'nobody' is not in the dataset" in said
    splits.write_text(kept)
    plan.write_text(plan.read_text()[:100])
    status, said = autoseg(capfd, "train-fold", workspace, "2d", 0)
    assert status == 2 and "plan.json: not valid JSON at line" in said


SPLITS_FAULTS = {
    "no list": ({}, "found dict, expected a list of folds"),
    "an empty list": ([], "expected a list of folds"),
    "no val": ([{"train": ["phantom_000"]}], "fold 0: field 'val'"),
    "a name for a list": ([{"train": "phantom_000", "val": ["phantom_001"]}], "field 'train', found 'phantom_000'"),
    "a case on both sides": ([{"train": ["phantom_000"], "val": ["phantom_000"]}], "is in train and val"),
    "a case twice": ([{"train": ["phantom_000"] * 2, "val": ["phantom_001"]}], "is listed twice in train"),
    "nothing to train on": ([{"train": [], "val": ["phantom_001"]}], "train or val is empty"),
}


@pytest.mark.parametrize("fault", SPLITS_FAULTS)
def test_faults_of_edited_splits(fault, workspace, capfd):
    content, message = SPLITS_FAULTS[fault]
    (workspace / "splits.json").write_text(json.dumps(content))
    status, said = autoseg(capfd, "train-fold", workspace, "2d", 0, "--iterations", 1)
    assert status == 2 and re.search(message, said), said


@pytest.mark.parametrize("name", ["dataset.json", "fingerprint.json", "plan.json"])
@pytest.mark.parametrize("content", ["{}", "[]", "{"])
def test_damaged_descriptions(name, content, workspace, phantoms, capfd):
    (workspace / name).write_text(content)
    status, said = autoseg(capfd, "plan-and-preprocess", phantoms, "-w", workspace, "--workers", 0)
    errors = [line for line in said.splitlines() if line.startswith("autoseg: ")]
    assert status == 2 and len(errors) == 1 and f"{name}: " in errors[0]
    assert (workspace / name).read_text() == content, "what a user may have edited is not overwritten"


def test_damaged_preprocessed_data(workspace, capfd):
    for path in (workspace / "preprocessed").rglob("phantom_00?.b2nd"):
        path.write_bytes(path.read_bytes()[:200])
    status, said = autoseg(capfd, "train-fold", workspace, "2d", 0, "--iterations", 1)
    assert status == 2 and re.search(r"phantom_00\d.b2nd: cannot be read .*preprocess again", said)


PREDICTION_FAULTS = {
    "a fold that is not trained": (["-f", "3"], "fold_3.model.safetensors: no such weights; train this fold first"),
    "a mirroring that there is not": (["--tta", "often"], "tta: found 'often', expected auto, mirror or none"),
    "a configuration that there is not": (["-c", "4d"], "configuration '4d' is not in the plan"),
    "memory that is no size": (["--memory", "plenty"], "memory 'plenty': expected a size above zero, such as 8GB"),
    "a device that there is not": (["--devices", "cpu,77"], "device 'cuda:77': not on this machine"),
    "hypotheses of networks that have none": (
        ["--hypotheses", "3"],
        "hypotheses: found 3, expected at most 2, one of each network, .* plan with '--planner probabilistic_unet'",
    ),
    "hypotheses of one network that has none": (
        ["--hypotheses", "1", "-c", "2d"],
        "hypotheses: found 1, expected 0 for a single network, because the networks of 2d have no latent variable",
    ),
    "fewer hypotheses than none": (["--hypotheses", "-1"], "Invalid value for '--hypotheses'"),
    "devices of one kind and another": (["--device", "cpu", "--devices", "cpu"], "found both, expected one of the two"),
}


@pytest.mark.parametrize("fault", PREDICTION_FAULTS)
def test_wrong_use_of_a_trained_workspace(fault, trained, phantoms, tmp_path, capfd):
    words, message = PREDICTION_FAULTS[fault]
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out", *words)
    assert status == 2 and re.search(message, said), said
    assert not (tmp_path / "out").exists()


def test_an_edited_choice_of_nothing(trained, phantoms, tmp_path, capfd):
    (trained / "ensemble.json").write_text('{"configurations": []}')
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 2 and "ensemble.json: field 'configurations', found none" in said


def test_predictions_whose_settings_are_damaged(trained, phantoms, tmp_path, capfd):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.json").write_text("[]")
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 2 and "prediction.json: found a list, expected an object" in said


def test_an_image_with_nan_is_not_predicted(trained, phantoms, tmp_path, capfd):
    voxels(phantoms / "imagesTs/phantom_006_0001.nii.gz", lambda a: poke(a, np.nan))
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out", "-c", "2d")
    assert status == 1
    assert "phantom_006_0001.nii.gz: 1 voxels are NaN or infinite" in said
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["phantom_007.nii.gz"]


def test_a_disk_that_fills_while_a_table_grows(workspace, monkeypatch, capfd):
    opened = Path.open

    def full(self, mode="r", *rest, **options):
        if self.name == "metrics.jsonl" and "a" in mode:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return opened(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    status, said = autoseg(capfd, "train-fold", workspace, "2d", 0, "--iterations", 1)
    assert status == 2 and "Traceback" not in said
    assert re.search("metrics.jsonl: .*the disk is full; free some space", said)


def test_a_file_that_fails_in_an_unforeseen_way(capfd):
    def command():
        raise OSError(errno.ENOSPC, "No space left on device", "some.log")

    with pytest.raises(typer.Exit) as exit_:
        guarded(command)()
    assert exit_.value.exit_code == 2
    assert capfd.readouterr().err.startswith("autoseg: some.log: No space left on device: the disk is full; free")


def test_weights_that_do_not_fit(trained, phantoms, tmp_path, capfd):
    edit(trained / "plan.json", lambda p: configuration(p)["network"].update(features=[4, 16]))
    status, said = autoseg(
        capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out", "-c", "3d_fullres"
    )
    assert status == 2 and "weights do not fit the plan's network" in said


def test_damaged_weights(trained, phantoms, tmp_path, capfd):
    Workspace(trained).fold("2d", 0).model.write_bytes(b"\x80\x04pickle")
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out", "-c", "2d")
    assert status == 2 and "model.safetensors: damaged" in said


def test_one_bad_image_among_good_ones(trained, phantoms, tmp_path, capfd):
    (phantoms / "imagesTs/phantom_006_0001.nii.gz").unlink()
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 1
    assert "case phantom_006" in said and "1 cases predicted" in said
    assert (tmp_path / "out" / "phantom_007.nii.gz").exists()


def test_an_output_that_cannot_be_written(trained, phantoms, tmp_path, capfd):
    (tmp_path / "file").write_text("in the way")
    status, said = autoseg(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "file" / "out")
    assert status == 2 and "cannot be written" in said


@pytest.mark.parametrize("command", ["plan-and-preprocess", "train-fold", "predict-folder"])
def test_a_full_disk(command, trained, phantoms, tmp_path, *, monkeypatch, capfd):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    words = {
        "plan-and-preprocess": [phantoms, "-w", tmp_path / "made", "--workers", 0],
        "train-fold": [trained, "3d_fullres", 1, "--iterations", 1],
        "predict-folder": [trained, phantoms / "imagesTs", tmp_path / "out"],
    }[command]
    status, said = autoseg(capfd, command, *words)
    assert status == 2
    assert "the disk is full; free some space" in said
    assert not list(tmp_path.rglob(".partial-*"))
