from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.layouts import load_dataset
from autoseg.errors import DatasetError
from autoseg.fingerprint.case import examine
from autoseg.fingerprint.measuring import build_fingerprint, dataset_findings, examine_all, is_current
from autoseg.fingerprint.record import read_fingerprint, write_fingerprint
from autoseg.images.volumes import read_labels, read_volume, write_labels, write_volume
from autoseg.system.execution import local_executor


@pytest.fixture
def dataset(phantoms):
    return load_dataset(phantoms)


@pytest.fixture
def fingerprint(dataset):
    return build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))


def rewrite(path, change):
    """Change the voxels of an image."""
    volume = read_volume([path])
    write_volume(path, change(volume.array.copy())[0], volume.geometry)


def relabel(case, change):
    labels, geometry = read_labels(case.label)
    write_labels(case.label, change(labels.copy()), geometry)


def messages(dataset, number=0):
    found = examine(dataset.cases[number], dataset, index=number, samples=100)
    return [(finding.severity, finding.message) for finding in found.findings]


def test_the_figures_are_those_of_the_images(dataset, fingerprint):
    volumes = [read_volume(case.images) for case in dataset.cases]
    labels = [read_labels(case.label)[0] for case in dataset.cases]
    assert [case.shape for case in fingerprint.cases] == [volume.array.shape[1:] for volume in volumes]
    assert np.array_equal(fingerprint.spacings, [volume.geometry.spacing for volume in volumes])
    for case, array in zip(fingerprint.cases, labels, strict=True):
        assert case.class_voxels == {"body": (array == 1).sum(), "core": (array == 2).sum()}
    for channel, seen in enumerate(fingerprint.intensities):
        voxels = np.concatenate([v.array[channel][a > 0] for v, a in zip(volumes, labels, strict=True)])
        assert seen.mean == pytest.approx(voxels.mean(), rel=1e-5)
        assert seen.std == pytest.approx(voxels.std(), rel=1e-5)
        assert seen.median == pytest.approx(np.median(voxels))
        assert (seen.minimum, seen.maximum) == (voxels.min(), voxels.max())
        assert seen.percentile_00_5 == pytest.approx(np.percentile(voxels, 0.5))
        assert seen.percentile_99_5 == pytest.approx(np.percentile(voxels, 99.5))


def test_margins_of_zeros_are_cropped(dataset):
    def margin(array):
        array[:, :, :5] = 0
        return array

    for path in dataset.cases[0].images:
        rewrite(path, margin)
    found = build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))
    z, y, x = found.cases[0].shape
    assert found.cases[0].cropped_shape == (z, y - 5, x)
    shares = np.prod(found.cropped_shapes, axis=1) / [np.prod(case.shape) for case in found.cases]
    assert found.median_cropped_share == np.median(shares)


def test_many_voxels_are_drawn_the_same_way_each_time(dataset):
    case = dataset.cases[0]
    first, again, other = (examine(case, dataset, index=i, samples=50).intensities for i in (0, 0, 1))
    assert first.shape == (2, 50)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    image, labels = read_volume(case.images).array, read_labels(case.label)[0]
    pairs = {tuple(pair) for pair in image[:, labels > 0].T}
    assert {tuple(pair) for pair in first.T} <= pairs


def test_workers_find_the_same(dataset, fingerprint):
    few = replace(dataset, cases=dataset.cases[:2])
    one, two = (build_fingerprint(few, examine_all(few, executor=local_executor(workers))) for workers in (0, 2))
    assert one == two
    assert one.cases == fingerprint.cases[:2]


def test_it_survives_writing(fingerprint, tmp_path):
    write_fingerprint(tmp_path / "fingerprint.json", fingerprint)
    assert read_fingerprint(tmp_path / "fingerprint.json") == fingerprint


def test_it_is_current_until_a_file_changes(dataset, fingerprint):
    assert is_current(fingerprint, dataset)
    assert not is_current(fingerprint, replace(dataset, cases=dataset.cases[1:]))
    dataset.cases[2].label.write_bytes(b"")
    assert not is_current(fingerprint, dataset)


def test_a_healthy_case_has_no_findings(dataset):
    assert messages(dataset) == []


def test_voxels_that_are_no_numbers(dataset):
    def spoil(array):
        array[0, 0, 0, :2] = np.nan, np.inf
        return array

    rewrite(dataset.cases[0].images[0], spoil)
    ((severity, message),) = messages(dataset)
    assert severity == "error" and "2 voxels are NaN or infinite" in message


def test_a_constant_channel_is_a_warning(dataset):
    rewrite(dataset.cases[0].images[1], lambda array: np.full_like(array, 7))
    ((severity, message),) = messages(dataset)
    assert severity == "warning" and message.endswith("_0001.nii.gz: channel 1 is constant (7)")


def test_a_label_that_no_class_has(dataset):
    def add(labels):
        labels[0, 0, :2] = 5
        return labels

    relabel(dataset.cases[0], add)
    ((severity, message),) = messages(dataset)
    assert severity == "error" and "found label 5, expected one of 0 (background), 1 (body), 2 (core)" in message


def test_a_label_map_on_another_grid(dataset):
    labels, geometry = read_labels(dataset.cases[0].label)
    write_labels(dataset.cases[0].label, labels, replace(geometry, spacing=(9.0, 1.0, 1.0)))
    ((severity, message),) = messages(dataset)
    assert severity == "error" and "does not lie on the image's grid: spacing" in message


def test_missing_files(dataset):
    dataset.cases[0].label.unlink()
    dataset.cases[1].images[0].unlink()
    assert "no such label map" in messages(dataset)[0][1]
    assert "_0000.nii.gz" in messages(dataset, 1)[0][1]


def test_the_number_of_channels_must_be_the_datasets(dataset):
    one = replace(dataset, channels=("T1",))
    assert "found 2 channels, expected 1 (T1)" in messages(one)[0][1]


def test_the_first_fault_stops_the_fingerprint_and_the_others_are_counted(dataset):
    for case in dataset.cases[:3]:
        case.label.unlink()
    with pytest.raises(DatasetError, match=r"case phantom_000: .*\(2 more: run 'autoseg check'\)"):
        build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))


def test_a_class_that_no_case_has_is_a_warning(dataset):
    for case in dataset.cases:
        relabel(case, lambda labels: np.minimum(labels, 1))
    found = build_fingerprint(dataset, examine_all(dataset, executor=local_executor(0)))
    assert found.warnings == ("all cases: no case contains a voxel of class 'core'",)


@pytest.mark.parametrize("labels", [{"background": 0, "body": 1}, {"background": 0, "body": 1, "core": 2}])
def test_background_alone_teaches_nothing(dataset, labels):
    dataset = replace(dataset, labels=labels)
    for case in dataset.cases:
        relabel(case, np.zeros_like)
    examinations = examine_all(dataset, executor=local_executor(0))
    assert any("the label map is empty" in finding.message for finding in dataset_findings(dataset, examinations))
    with pytest.raises(DatasetError, match="nothing to learn"):
        build_fingerprint(dataset, examinations)
