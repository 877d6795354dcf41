from __future__ import annotations

import numpy as np
import pytest

from autoseg.data.dataset import Dataset
from autoseg.errors import WorkspaceError
from autoseg.images.geometry import Geometry, Volume
from autoseg.plan.files import PLAN_VERSION
from autoseg.plan.schema import Configuration, Plan, Training
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.previous_stage import PreviousStage, labels_on_grid, prepare_previous_stage
from autoseg.preprocessing.store import labels_path, open_case, write_array, write_case
from autoseg.system.execution import local_executor

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TUMOURS = Dataset(
    name="tumours",
    channels=("T1",),
    labels={},
    file_ending=".nii.gz",
    cases=(),
    regions={"whole": (1, 3, 7), "core": (7,)},
    region_order=(1, 7),
)
CONFIGURATION = Configuration(
    dimension=3,
    spacing=(2.0, 1.5, 1.5),
    median_shape=(8, 8, 8),
    patch_size=(8, 8, 8),
    batch_size=2,
    normalization=({"name": "z_score"},),
    network={},
    loss={},
    sampling={},
    augmentation={},
    training=Training({}, {}, iterations=1),
    previous_stage="low",
)
PLAN = Plan(PLAN_VERSION, "tumours", "unet", (2, 0, 1), (), {"cascade": CONFIGURATION})


@pytest.fixture
def case():
    """A preprocessed case whose image is cropped, transposed and resampled, and its label map on the file's grid."""
    rng = np.random.default_rng(0)
    image = np.zeros((1, 12, 14, 10), np.float32)
    image[:, 2:11, 1:13, 3:] = rng.uniform(1, 2, (1, 9, 12, 7))
    labels = np.kron(rng.choice([0, 1, 3, 7], (6, 7, 5)), np.ones((2, 2, 2))).astype(np.uint8)
    geometry = Geometry((12, 14, 10), (1.0, 1.2, 2.0), (0.0, 0.0, 0.0), IDENTITY, 3)
    prepared = prepare(Volume(image, geometry), labels, dataset=TUMOURS, plan=PLAN, configuration=CONFIGURATION)
    return labels, prepared


def test_label_maps_take_the_steps_of_reference_labels(case):
    labels, prepared = case
    found = labels_on_grid(labels, prepared.preprocessing, TUMOURS)
    assert found.shape == prepared.preprocessing.shape and np.array_equal(found, prepared.labels)


def test_of_regions_the_label_values_are_told_apart(case):
    labels, prepared = case
    assert set(np.unique(labels_on_grid(labels, prepared.preprocessing, TUMOURS))) == {0, 1, 2, 3}
    only_core = labels_on_grid(np.where(labels == 7, labels, 0), prepared.preprocessing, TUMOURS)
    assert set(np.unique(only_core)) == {0, 3}


def test_a_label_map_of_another_size_is_named(case, tmp_path):
    from autoseg.images.volumes import write_labels

    labels, prepared = case
    write_case(tmp_path / "data", "a", prepared, source="s", dtype="float32", seed=0)
    file = tmp_path / "fold_0" / "validation" / "a.nii.gz"
    preprocessing = prepared.preprocessing.geometry
    write_labels(
        file,
        labels[:-1],
        Geometry((11, 14, 10), preprocessing.spacing, preprocessing.origin, preprocessing.direction, 3),
    )
    stage = PreviousStage({"a": file}, tmp_path / "data", tmp_path / "previous")
    with pytest.raises(WorkspaceError, match=r"a.nii.gz: found size \(11, 14, 10\), expected \(12, 14, 10\)"):
        prepare_previous_stage(stage, TUMOURS, executor=local_executor(0))
    assert not list((tmp_path / "previous").glob("*"))


def test_stored_label_maps_must_fit_and_count_as_memory(case, tmp_path):
    labels, prepared = case
    write_case(tmp_path / "data", "a", prepared, source="s", dtype="float32", seed=0)
    previous = labels_on_grid(labels, prepared.preprocessing, TUMOURS)
    write_array(labels_path(tmp_path / "previous", "a"), previous)
    alone, with_previous = (open_case(tmp_path / "data", "a", previous=p) for p in (None, tmp_path / "previous"))
    assert alone.previous is None and np.array_equal(with_previous.decoded().previous, previous)
    assert with_previous.nbytes == alone.nbytes + previous.nbytes
    write_array(labels_path(tmp_path / "previous", "a"), previous[1:])
    with pytest.raises(WorkspaceError, match=r"previous/a.b2nd: shape differs from case 'a'; remove its folder"):
        open_case(tmp_path / "data", "a", previous=tmp_path / "previous")
