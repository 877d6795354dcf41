from __future__ import annotations

import json

import numpy as np

from autoseg.data.layouts import load_dataset
from autoseg.demo.phantoms import phantom, write_phantoms
from autoseg.images.volumes import read_labels, read_volume


def test_a_phantom_is_decided_by_its_seed():
    (image, labels, geometry), again = (phantom(np.random.default_rng([0, 3]), (8, 24, 24)) for _ in range(2))
    assert np.array_equal(image, again[0]) and np.array_equal(labels, again[1]) and geometry == again[2]
    assert image.shape == (2, *labels.shape)
    assert (image.dtype, geometry.size) == (np.float32, labels.shape)


def test_every_phantom_holds_a_core_inside_a_body():
    for seed in range(10):
        _, labels, geometry = phantom(np.random.default_rng(seed), (8, 24, 24))
        assert set(np.unique(labels)) == {0, 1, 2}
        assert geometry.spacing[0] > 3 * geometry.spacing[1]
        assert np.allclose(np.reshape(geometry.direction, (3, 3)) @ np.reshape(geometry.direction, (3, 3)).T, np.eye(3))


def test_phantoms_are_a_dataset_in_nnunets_layout(tmp_path):
    write_phantoms(tmp_path, training=3, testing=1, size=(6, 16, 16))
    dataset = load_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["phantom_000", "phantom_001", "phantom_002"]
    assert dataset.labels == {"background": 0, "body": 1, "core": 2}
    assert json.loads((tmp_path / "dataset.json").read_text())["numTraining"] == 3
    for case in dataset.cases:
        volume, (_, geometry) = read_volume(case.images), read_labels(case.label)
        assert volume.array.shape == (2, *geometry.size)
        assert volume.geometry.differences(geometry) == []
    assert sorted(path.name for path in (tmp_path / "imagesTs").iterdir()) == [
        "phantom_003_0000.nii.gz",
        "phantom_003_0001.nii.gz",
    ]
    assert (tmp_path / "labelsTs" / "phantom_003.nii.gz").exists()
