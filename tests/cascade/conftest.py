"""Workspaces with a cascade: two stages with tiny networks, in two folds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import autoseg
from autoseg.data.splits import kfold, write_splits
from autoseg.images.volumes import read_labels
from autoseg.preprocessing.previous_stage import PreviousStage, find_previous_stage
from autoseg.preprocessing.run import preprocess
from autoseg.preprocessing.store import StoredCase, open_case
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"
STEPS = 4


class Staged(Workspace):
    """A workspace with a cascade, and where its first stage's label maps are."""

    def held_out(self, case: str) -> np.ndarray:
        """The label map of the first stage's fold that did not train on a case."""
        (fold,) = (number for number, split in enumerate(self.splits()) if case in split.val)
        return read_labels(self.fold(STAGE, fold).validation / f"{case}.nii.gz")[0]

    def find(self, fold: int | str = 0) -> PreviousStage:
        found = find_previous_stage(self, self.plan(), CASCADE, fold=fold)
        assert found
        return found

    def stored(self, case: str) -> StoredCase:
        return open_case(self.find().data, case, previous=self.find().folder)

    def weights(self, fold: int = 0) -> dict[str, torch.Tensor]:
        return load_file(self.fold(CASCADE, fold).model)


def copied(root: Path, folder: Path) -> Staged:
    return Staged(Path(shutil.copytree(root, folder / "workspace")))


@pytest.fixture(scope="session")
def planned_once(made_once, tmp_path_factory) -> Staged:
    """Both stages planned, the cascade first, and preprocessed; not to be changed."""
    place = copied(made_once / "workspace", tmp_path_factory.mktemp("planned"))
    plan = json.loads(place.plan_file.read_text())
    fullres = plan["configurations"]["3d_fullres"]
    z, y, x = fullres["spacing"]
    plan["configurations"][CASCADE] = fullres | {"previous_stage": STAGE}
    plan["configurations"][STAGE] = fullres | {"spacing": [z, 1.5 * y, 1.5 * x], "patch_size": [8, 12, 12]}
    place.plan_file.write_text(json.dumps(plan))
    write_splits(place.splits_file, kfold([case.name for case in place.dataset().cases], 2))
    preprocess(place, place.plan(), executor=local_executor(0))
    return place


@pytest.fixture(scope="session")
def stage_once(planned_once, tmp_path_factory) -> Staged:
    """The first stage trained in both folds; not to be changed."""
    place = copied(planned_once.root, tmp_path_factory.mktemp("stage"))
    for fold in (0, 1):
        autoseg.train_fold(place.root, STAGE, fold, iterations=30)
    return place


@pytest.fixture(scope="session")
def cascade_once(stage_once, tmp_path_factory) -> Staged:
    """Both stages trained in both folds; not to be changed."""
    place = copied(stage_once.root, tmp_path_factory.mktemp("cascade"))
    for fold in (0, 1):
        autoseg.train_fold(place.root, CASCADE, fold, iterations=STEPS)
    return place


@pytest.fixture
def planned(planned_once, tmp_path) -> Staged:
    return copied(planned_once.root, tmp_path)


@pytest.fixture
def stage(stage_once, tmp_path) -> Staged:
    return copied(stage_once.root, tmp_path)


@pytest.fixture
def cascade(cascade_once, tmp_path) -> Staged:
    return copied(cascade_once.root, tmp_path)
