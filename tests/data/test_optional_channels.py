"""Cases that lack a channel: found, filled after normalization, left out of every statistic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import autoseg
from autoseg.data.layouts import load_dataset
from autoseg.data.optional_channels import read_case
from autoseg.errors import DatasetError, ImageError
from autoseg.fingerprint.case import examine
from autoseg.fingerprint.measuring import build_fingerprint, dataset_findings, examine_all
from autoseg.inference.sources import FileSource, find_sources
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.store import open_case
from autoseg.system.execution import local_executor

FILL = -4.0


def declare(folder: Path, **fields) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def incomplete(phantoms) -> Path:
    """Six phantoms, of which one lacks its first channel and two the second; both may be missing."""
    declare(phantoms, channel_names={"0": "T1", "1": "T2"}, optional_channels={"T1": FILL, "1": FILL})
    for name in ("000_0000", "001_0001", "002_0001"):
        (phantoms / "imagesTr" / f"phantom_{name}.nii.gz").unlink()
    return phantoms


def test_absent_channels_are_found_by_the_numbers_of_files(incomplete):
    dataset = load_dataset(incomplete)
    assert dataset.fill_values == {0: FILL, 1: FILL}
    assert [case.missing_channels for case in dataset.cases] == [(0,), (1,), (1,), (), (), ()]
    assert [path.name for path in dataset.cases[0].images] == ["phantom_000_0001.nii.gz"]


def test_a_listing_may_have_null_or_names_without_files(incomplete):
    numbers = range(3)
    v1 = [
        {"image": f"./imagesTr/phantom_{n:03d}.nii.gz", "label": f"./labelsTr/phantom_{n:03d}.nii.gz"} for n in numbers
    ]
    declare(incomplete, training=v1)
    assert [case.missing_channels for case in load_dataset(incomplete).cases] == [(0,), (1,), (1,)]
    declare(incomplete, dataset={"a": {"images": ["x.nii.gz", None], "label": "y.nii.gz"}})
    assert load_dataset(incomplete).cases[0].missing_channels == (1,)
    declare(incomplete, dataset={"a": {"images": [None, None], "label": "y.nii.gz"}})
    with pytest.raises(DatasetError, match=r"dataset.json: field 'dataset.a', case 'a': found no file of any channel"):
        load_dataset(incomplete)
    declare(incomplete, optional_channels={}, dataset={"a": {"images": ["x.nii.gz", None], "label": "y.nii.gz"}})
    with pytest.raises(
        DatasetError, match=r"found null for T2, expected files; .*set 'optional_channels' in dataset.json"
    ):
        load_dataset(incomplete)


def test_one_file_may_still_hold_all_channels(phantoms):
    declare(phantoms, channel_names={"0": "T1", "1": "T2"}, optional_channels={"T2": FILL})
    whole, first = (phantoms / "imagesTr" / f"phantom_000_000{n}.nii.gz" for n in (1, 0))
    both = sitk.Compose(sitk.ReadImage(str(first)), sitk.ReadImage(str(whole)))
    whole.unlink()
    sitk.WriteImage(both, str(first))
    assert load_dataset(phantoms).cases[0].missing_channels == ()


def test_statistics_are_those_of_the_channels_that_are_there(incomplete):
    dataset = load_dataset(incomplete)
    examinations = examine_all(dataset, executor=local_executor(0))
    fingerprint = build_fingerprint(dataset, examinations)
    there = [examine(dataset.cases[n], dataset, index=n, samples=10**7) for n in (0, 3, 4, 5)]
    pooled = np.concatenate([one.intensities[1] for one in there])
    assert fingerprint.intensities[1].mean == pytest.approx(pooled.mean(dtype=np.float64))
    assert fingerprint.cases[0].missing_channels == (0,)
    percentiles = fingerprint.cases[0].percentiles
    assert not percentiles[0].nonzero and percentiles[1].nonzero
    assert not [finding for finding in dataset_findings(dataset, examinations) if finding.severity == "error"]


def test_a_missing_channel_has_its_value_everywhere_and_the_others_are_as_without_it(incomplete, tmp_path):
    dataset = load_dataset(incomplete)
    workspace = autoseg.plan_and_preprocess(incomplete, workspace=tmp_path / "w", time_budget=3600.0, workers=0)
    plan = workspace.plan()
    configuration = plan.configuration("3d_fullres")
    for case in dataset.cases[:2]:
        missing_channels = case.missing_channels[0]
        prepared = prepare(read_case(case, 2), None, dataset=dataset, plan=plan, configuration=configuration)
        assert (prepared.image[missing_channels] == FILL).all() and prepared.image.shape[0] == 2
        present = 1 - missing_channels
        assert abs(prepared.image[present].mean()) < 0.2 and prepared.image[present].std() > 0.5
        stored = open_case(workspace.data(plan, configuration), case.name)
        assert stored.record.missing_channels == case.missing_channels
        assert np.allclose(stored.image[:], prepared.image, atol=1e-3)
    said = [decision for decision in plan.explanation if "in 33% of the samples" in decision.decision]
    assert said and "channel 'T2': missing in 2 of 6 cases, filled with -4 after normalization" in said[0].reasons
    assert configuration.augmentation["channel_dropout"] == {"probability": pytest.approx(1 / 3, abs=1e-3)}


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_a_network_trains_with_and_predicts_incomplete_cases(incomplete, tmp_path, shrink_plan, name):
    place = tmp_path / "w"
    autoseg.plan_and_preprocess(incomplete, workspace=place, configurations=[name], time_budget=3600.0, workers=0)
    shrink_plan(place / "plan.json")
    autoseg.train_fold(place, name, 0, iterations=1)
    images = incomplete / "imagesTs"
    for file in ("phantom_006_0000.nii.gz", "phantom_007_0001.nii.gz"):
        (images / file).unlink()
    result = autoseg.predict_folder(place, images, tmp_path / "out")
    assert result.done == ("phantom_006", "phantom_007") and not result.failed
    predicted = sitk.ReadImage(str(tmp_path / "out" / "phantom_006.nii.gz"))
    assert predicted.GetSize() == sitk.ReadImage(str(images / "phantom_006_0001.nii.gz")).GetSize()


def test_another_fill_value_makes_new_data_of_the_cases_it_concerns(incomplete, tmp_path):
    workspace = autoseg.plan_and_preprocess(
        incomplete, workspace=tmp_path / "w", configurations=["3d_fullres"], time_budget=3600.0, workers=0
    )
    folder = workspace.data(workspace.plan(), workspace.plan().configuration("3d_fullres"))
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("phantom_00?.json")}
    declare(incomplete, optional_channels={"T1": -2, "T2": FILL})
    autoseg.plan_and_preprocess(
        incomplete, workspace=tmp_path / "w", configurations=["3d_fullres"], time_budget=3600.0, workers=0
    )
    changed = [path.name for path in folder.glob("phantom_00?.json") if path.stat().st_mtime_ns != before[path.name]]
    assert changed == ["phantom_000.json"]
    assert (open_case(folder, "phantom_000").image[0] == -2).all()


def test_without_a_declared_value_the_fault_names_the_field(phantoms):
    (phantoms / "imagesTr" / "phantom_000_0000.nii.gz").unlink()
    (phantoms / "imagesTr" / "phantom_001_0001.nii.gz").unlink()
    (phantoms / "imagesTs" / "phantom_006_0000.nii.gz").unlink()
    dataset = load_dataset(phantoms)
    first, last = dataset.channels
    for index, channel in enumerate((first, last)):
        (finding,) = examine(dataset.cases[index], dataset, index=index, samples=10).findings
        assert finding.severity == "error"
        assert f"set 'optional_channels' in dataset.json, such as {{\"{channel}\": -4}}" in finding.message
    source = find_sources(phantoms / "imagesTs", dataset)[0]
    assert isinstance(source, FileSource)
    with pytest.raises(ImageError, match=r"_0000 \(.*\) missing; add the files, or set 'optional_channels'"):
        source.read(dataset.channels)


@pytest.mark.parametrize(
    "missing, said",
    [
        ({"T2": "low"}, r"field 'optional_channels.T2', found 'low', expected a number"),
        ({"T2": True}, r"field 'optional_channels.T2', found True, expected a number"),
        ({"T3": -4}, r"field 'optional_channels', found the channel 'T3', expected one of 0 \(T1\), 1 \(T2\)"),
        ([-4], r"field 'optional_channels', found \[-4\], expected an object"),
    ],
)
def test_bad_declarations(incomplete, missing, said):
    declare(incomplete, optional_channels=missing)
    with pytest.raises(DatasetError, match=said):
        load_dataset(incomplete)


def test_a_channel_that_no_case_has_is_a_fault(incomplete):
    for path in (incomplete / "imagesTr").glob("*_0001.nii.gz"):
        if path.name != "phantom_000_0001.nii.gz":
            path.unlink()
    for name in ("imagesTr/phantom_000_0001", "labelsTr/phantom_000"):
        (incomplete / f"{name}.nii.gz").unlink()
    dataset = load_dataset(incomplete)
    findings = dataset_findings(dataset, examine_all(dataset, executor=local_executor(0)))
    assert [f.message for f in findings if f.severity == "error"] == [
        "no case has channel 'T2'; add its files or remove it from dataset.json"
    ]


def test_check_counts_missing_channels(incomplete, capsys):
    from autoseg.cli.main import main

    with pytest.raises(SystemExit) as exit_:
        main(["check", str(incomplete), "--workers", "0"])
    assert not exit_.value.code
    assert "channel T2: missing in 2 of 6 cases, filled with -4 after normalization" in capsys.readouterr().out


def test_padding_goes_on_with_what_a_missing_channel_holds():
    import torch

    from autoseg.inference.sliding_window import TilingSettings, predict_probabilities

    seen = []

    class Watching(torch.nn.Module):
        divisor = (1, 1, 1)

        def forward(self, x):
            seen.append(x.clone())
            return [torch.zeros(x.shape[0], 2, *x.shape[2:])]

    image = np.ones((2, 3, 3, 3), dtype=np.float32)
    image[1] = FILL
    settings = TilingSettings((8, 8, 8), 2, fill_values=((0, -3.0), (1, FILL)))
    predict_probabilities([Watching()], image, settings, torch.device("cpu"))
    assert (seen[0][:, 1] == FILL).all()
    assert seen[0][:, 0].sum() == 27


def test_samples_are_decided_by_seed_fold_and_number_alone(incomplete, tmp_path, shrink_plan):
    from autoseg.learning.samples import training_sources
    from autoseg.learning.setting import FoldRequest, read_setting

    workspace = autoseg.plan_and_preprocess(
        incomplete, workspace=tmp_path / "w", configurations=["3d_fullres"], time_budget=3600.0, workers=0
    )
    shrink_plan(workspace.plan_file)

    def dropped(seed, numbers):
        setting = read_setting(FoldRequest(workspace, "3d_fullres", 0, seed=seed, device="cpu"))
        source = training_sources(setting).streams["labelled"]
        missing_channels = [
            source.cases[source._place(i, source.stream.rng(i))[0]].record.missing_channels for i in numbers
        ]
        found = [source.sample(i).parameters.dropped for i in numbers]
        assert all(set(lacking) <= set(drawn) for lacking, drawn in zip(missing_channels, found, strict=True))
        return found

    first = dropped(0, range(60))
    assert first == dropped(0, range(59, -1, -1))[::-1]
    assert first != dropped(1, range(60))
    assert set(first) == {(), (0,), (1,)}


def test_an_array_may_lack_channels_as_well(incomplete, tmp_path, shrink_plan):
    from autoseg.errors import PlanError
    from autoseg.inference.predictor import Predictor

    workspace = autoseg.plan_and_preprocess(
        incomplete, workspace=tmp_path / "w", configurations=["2d"], time_budget=3600.0, workers=0
    )
    shrink_plan(workspace.plan_file)
    autoseg.train_fold(workspace.root, "2d", 0, iterations=1)
    predictor = Predictor.load(workspace.root)
    array = np.random.default_rng(0).normal(size=(1, 6, 20, 20)).astype(np.float32)
    labels = predictor.predict_array(array, spacing=(3.5, 1.0, 1.0), missing_channels=["T1"])
    assert labels.shape == (6, 20, 20)
    with pytest.raises(PlanError, match="missing_channels: found 'T3', expected some of T1, T2"):
        predictor.predict_array(array, spacing=(3.5, 1.0, 1.0), missing_channels=["T3"])
    with pytest.raises(ImageError, match="found 1 channels, expected 2"):
        predictor.predict_array(array, spacing=(3.5, 1.0, 1.0))
