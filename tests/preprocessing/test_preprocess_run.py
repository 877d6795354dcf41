from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.dataset import IGNORED, write_dataset
from autoseg.data.layouts import load_dataset
from autoseg.images.volumes import read_labels
from autoseg.plan.files import PLAN_VERSION
from autoseg.plan.schema import Configuration, Plan, Training
from autoseg.preprocessing.run import preprocess
from autoseg.preprocessing.store import open_case
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

FULLRES = Configuration(
    dimension=3,
    spacing=(3.5, 2.0, 2.0),
    median_shape=(8, 12, 12),
    patch_size=(8, 8, 8),
    batch_size=2,
    normalization=({"name": "z_score"}, {"name": "rescale"}),
    network={},
    loss={},
    sampling={},
    augmentation={},
    training=Training({}, {}, iterations=1),
)
SLICES = replace(FULLRES, dimension=2, patch_size=(8, 8), batch_size=4)
PLAN = Plan(PLAN_VERSION, "phantoms", "unet", (0, 1, 2), (0, 1, 2), {"2d": SLICES, "3d_fullres": FULLRES})


@pytest.fixture
def workspace(phantoms, tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    write_dataset(workspace.dataset_file, load_dataset(phantoms))
    return workspace


def run(workspace, plan=PLAN):
    """Preprocess and return the names of the cases that it took."""
    done = []
    count = preprocess(workspace, plan, executor=local_executor(0), progress=done.append)
    assert count == len(done)
    return done


def test_configurations_that_need_the_same_data_share_them(workspace):
    assert len(run(workspace)) == len(workspace.dataset().cases)
    assert workspace.data(PLAN, SLICES) == workspace.data(PLAN, FULLRES)
    case = open_case(workspace.data(PLAN, SLICES), "phantom_000")
    labels, geometry = read_labels(workspace.dataset().case("phantom_000").label)
    assert case.image.shape == (2, *case.shape)
    assert case.shape[0] == geometry.size[0]
    assert case.shape[1] == round(geometry.size[1] * geometry.spacing[1] / 2)
    assert set(case.foreground) == set(np.unique(labels)) - {0}


def test_what_is_there_is_not_done_again(workspace):
    run(workspace)
    assert run(workspace) == []


def test_an_interrupted_run_goes_on(workspace):
    done = []

    def stop(name):
        done.append(name)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(workspace, PLAN, executor=local_executor(0), progress=stop)
    names = [case.name for case in workspace.dataset().cases]
    assert run(workspace) == names[2:]


def test_a_changed_file_is_done_again(workspace):
    run(workspace)
    os.utime(workspace.dataset().case("phantom_003").label, (1, 1))
    assert run(workspace) == ["phantom_003"]


def test_a_case_whose_array_was_removed_is_done_again(workspace):
    run(workspace)
    (workspace.data(PLAN, FULLRES) / "phantom_001_seg.b2nd").unlink()
    assert run(workspace) == ["phantom_001"]


def test_other_label_values_make_other_data(workspace):
    run(workspace)
    dataset = workspace.dataset()
    write_dataset(workspace.dataset_file, replace(dataset, labels={"background": 0, "core": 2}))
    assert len(run(workspace)) == len(dataset.cases)
    assert set(open_case(workspace.data(PLAN, FULLRES), "phantom_000").foreground) == {1}


def test_data_of_an_earlier_plan_are_removed(workspace):
    run(workspace)
    before = workspace.data(PLAN, FULLRES)
    coarser = replace(PLAN, configurations={"3d_fullres": replace(FULLRES, spacing=(3.5, 3.0, 3.0))})
    run(workspace, coarser)
    assert not before.exists()
    assert [path.name for path in before.parent.iterdir()] == [
        workspace.data(coarser, coarser.configuration("3d_fullres")).name
    ]


def test_workers_make_the_same_data(workspace, tmp_path):
    one, other = workspace, Workspace(tmp_path / "other")
    dataset = workspace.dataset()
    dataset = replace(dataset, cases=dataset.cases[:2])
    for place, workers in ((one, 0), (other, 2)):
        write_dataset(place.dataset_file, dataset)
        preprocess(place, PLAN, executor=local_executor(workers))
    for case in dataset.cases:
        first, second = (open_case(place.data(PLAN, FULLRES), case.name) for place in (one, other))
        assert np.array_equal(first.image[:], second.image[:])
        assert np.array_equal(first.foreground[1], second.foreground[1])


def test_a_case_that_gets_a_label_map_is_made_again(workspace):
    dataset = workspace.dataset()
    without = replace(dataset, cases=(replace(dataset.cases[0], label=None), *dataset.cases[1:]))
    write_dataset(workspace.dataset_file, without)
    run(workspace)
    folder = workspace.data(PLAN, FULLRES)
    assert [open_case(folder, case.name).labelled for case in dataset.cases[:2]] == [False, True]
    assert (open_case(folder, "phantom_000").labels[:] == IGNORED).all()
    write_dataset(workspace.dataset_file, dataset)
    assert run(workspace) == ["phantom_000"]
    assert open_case(folder, "phantom_000").labelled
