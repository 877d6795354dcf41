"""A workspace whose folds look trained, with probabilities of the held-out cases that a test makes up."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.choice.held_out import HeldOut, find_held_out
from autoseg.data.dataset import write_dataset
from autoseg.data.splits import kfold, write_splits
from autoseg.images.volumes import read_labels, write_labels
from autoseg.inference.stored_scores import scores_source, write_scores
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.store import read_case_record
from autoseg.workspace.paths import Workspace

CONFIGURATIONS = ("2d", "3d_fullres")
SURE, UNSURE = 0.9, 0.55


class Made(Workspace):
    """A workspace with six cases of a body (1) and a core (2), in two folds."""

    @property
    def names(self) -> list[str]:
        return [case.name for case in self.dataset().cases]

    def set_reference(self, case: str, labels: np.ndarray) -> None:
        path = self.dataset().case(case).label
        write_labels(path, labels, read_labels(path)[1])

    def reference(self, case: str) -> np.ndarray:
        return read_labels(self.dataset().case(case).label)[0]

    def predict(self, configuration: str, case: str, labels: np.ndarray, *, mirror: bool = True, sure=SURE) -> None:
        """Store probabilities whose largest makes ``labels``; ``sure``: the largest, everywhere or [Z,Y,X]."""
        dataset = self.dataset()
        indices = np.searchsorted((0, *dataset.values), labels)
        if dataset.regions:
            masks = [np.isin(labels, values) for values in dataset.regions.values()]
            probabilities = np.stack([np.where(mask, sure, 1 - np.asarray(sure)) for mask in masks])
        else:
            rest = (1 - np.asarray(sure)) / (dataset.outputs - 1)
            probabilities = np.stack([np.where(indices == k, sure, rest) for k in range(dataset.outputs)])
        self.store(configuration, case, probabilities, mirror=mirror)

    def store(self, configuration: str, case: str, probabilities: np.ndarray, *, mirror: bool = True) -> None:
        plan = self.plan()
        record = read_case_record(self.data(plan, plan.configuration(configuration)), case)
        fold = next(number for number, split in enumerate(self.splits()) if case in split.val)
        folder = self.fold(configuration, fold)
        preprocessing = replace(
            record.preprocessing, shape=record.preprocessing.cropped_shape
        )  # On the grid of the files.
        assert preprocessing.shape == probabilities.shape[1:] and preprocessing.transpose == (0, 1, 2)
        scores = Scores(probabilities.astype(np.float32), preprocessing)
        write_scores(folder, case, scores, source=scores_source(folder, record), mirror=mirror)

    def predict_all(self, made, configurations=CONFIGURATIONS, *, mirror: bool = True) -> None:
        """Store what ``made`` makes of the reference of each case for all configurations."""
        for name in configurations:
            for case in self.names:
                self.predict(name, case, made(self.reference(case)), mirror=mirror)

    def held_out(self) -> HeldOut:
        return find_held_out(self)

    def make_regions(self) -> None:
        """Segment the whole, which is body and core, and the core within it."""
        regions = {"whole": (1, 2), "core": (2,)}
        write_dataset(self.dataset_file, replace(self.dataset(), labels={}, regions=regions, region_order=(1, 2)))


@pytest.fixture
def made(workspace) -> Made:
    """Both configurations with two folds; what they predict is for the test to say."""
    place = Made(workspace)
    # Other tests read the phantoms' own label maps.
    dataset, labels = place.dataset(), workspace / "labels"
    labels.mkdir()
    cases = tuple(replace(case, label=Path(shutil.copy(case.label, labels))) for case in dataset.cases)
    write_dataset(place.dataset_file, replace(dataset, cases=cases))
    write_splits(place.splits_file, kfold(place.names, 2))
    for name in CONFIGURATIONS:
        for fold in (0, 1):
            folder = place.fold(name, fold)
            folder.root.mkdir(parents=True)
            folder.model.write_text("weights that nobody reads")
    for case in place.names:
        place.set_reference(case, box_labels(place.reference(case).shape))
    return place


def box_labels(shape: tuple[int, ...]) -> np.ndarray:
    """Make a body with a core, both boxes, far from the faces."""
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 4:13, 4:13] = 1
    labels[3:5, 6:10, 6:10] = 2
    return labels
