"""Cases without a label map: their images are measured and checked; classes and foreground are those of the others."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.dataset import write_dataset
from autoseg.data.kinds import labelled_part
from autoseg.data.layouts import load_dataset
from autoseg.fingerprint.case import examine
from autoseg.fingerprint.measuring import build_fingerprint, dataset_findings, examine_all
from autoseg.fingerprint.record import read_fingerprint, write_fingerprint
from autoseg.images.volumes import read_volume, write_volume
from autoseg.planners.class_weights import inverse_frequencies
from autoseg.planners.sampling import sampling
from autoseg.system.execution import local_executor
from autoseg.workspace.dividing import divide_cases
from autoseg.workspace.paths import Workspace


def measured(dataset):
    return build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))


@pytest.fixture
def alone(phantoms):
    """The phantoms, all with a label map."""
    return load_dataset(phantoms)


@pytest.fixture
def mixed(phantoms, alone):
    """The same and two cases without a label map, the first and the last by name, of which one is tagged."""
    (phantoms / "unlabelledTr").mkdir()
    for old, new in (("phantom_006", "a_first"), ("phantom_007", "z_last")):
        for path in phantoms.glob(f"imagesTs/{old}_*"):
            shutil.copy(path, phantoms / "unlabelledTr" / path.name.replace(old, new))
    return replace(load_dataset(phantoms), tags={"z_last": ("large",)})


def test_the_labelled_cases_measure_what_they_measure_alone(alone, mixed):
    found, expected = measured(mixed), measured(alone)
    assert found.labelled == expected.cases
    assert found.intensities == expected.intensities
    assert np.array_equal(found.thickness, expected.thickness)
    assert inverse_frequencies(mixed, found) == inverse_frequencies(alone, expected)
    assert sampling(mixed, found) == sampling(alone, expected)


def test_shapes_spacings_and_percentiles_are_those_of_every_image(mixed):
    found = measured(mixed)
    assert found.kinds == {"labelled": 6, "tagged": 1, "unlabelled": 1}
    first, *_, last = found.cases
    assert (first.name, first.kind, last.name, last.kind) == ("a_first", "unlabelled", "z_last", "tagged")
    assert len(found.shapes) == len(found.spacings) == 8
    assert all(channel.nonzero for case in (first, last) for channel in case.percentiles)
    assert (first.class_voxels, first.runs) == ({}, {})


def test_a_dataset_of_labelled_cases_says_so(alone):
    assert measured(alone).kinds == {"labelled": 6}
    assert not any(case.sparse for case in measured(alone).cases)


def test_few_foreground_voxels_are_drawn_as_without_the_others(alone, mixed, monkeypatch):
    monkeypatch.setattr("autoseg.fingerprint.measuring.MOST_SAMPLES", 6000)
    assert measured(mixed).intensities == measured(alone).intensities


def test_it_survives_writing(mixed, tmp_path):
    write_fingerprint(tmp_path / "fingerprint.json", measured(mixed))
    assert read_fingerprint(tmp_path / "fingerprint.json") == measured(mixed)


def test_faults_of_unlabelled_images_are_found(mixed):
    path = mixed.case("a_first").images[0]
    volume = read_volume([path])
    write_volume(path, np.where(volume.array[0] > volume.array.mean(), np.nan, volume.array[0]), volume.geometry)
    mixed.case("z_last").images[1].write_bytes(b"")
    found = {
        finding.case: finding for finding in dataset_findings(mixed, examine_all(mixed, executor=local_executor(0)))
    }
    assert "are NaN or infinite" in found["a_first"].message
    assert found["z_last"].severity == "error" and "z_last_0001" in found["z_last"].message


def test_a_missing_label_map_says_where_the_image_may_go(alone):
    alone.cases[0].label.unlink()
    (finding,) = examine(alone.cases[0], alone, index=0, samples=10).findings
    assert "no such label map, expected one for each image; move the image to unlabelledTr" in finding.message


def test_a_channel_that_no_labelled_case_has(mixed):
    optional = replace(mixed, optional_channels={"T2": -4.0})
    cases = tuple(
        replace(case, images=case.images[:1], missing_channels=(1,)) if case.label else case for case in mixed.cases
    )
    with pytest.raises(ValueError, match="no labelled case has channel 'T2'"):
        measured(replace(optional, cases=cases))


@pytest.mark.parametrize("kind", ["kfold", "stratified"])
def test_folds_are_those_of_the_labelled_cases(alone, mixed, kind, tmp_path):
    splits = {}
    for name, dataset in (("alone", alone), ("mixed", mixed)):
        workspace = Workspace(tmp_path / name)
        write_dataset(workspace.dataset_file, dataset)
        divide_cases(dataset, measured(dataset), workspace, kind=kind, folds=3)
        splits[name] = workspace.splits()
    assert [labelled_part(mixed, fold) for fold in splits["mixed"]] == splits["alone"]
    for fold in splits["mixed"]:
        assert sorted([*fold.train, *fold.val]) == [case.name for case in mixed.cases]
