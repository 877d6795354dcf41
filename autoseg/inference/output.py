"""Paths of the output files of a folder, and whether these files exist already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from autoseg.inference.predictor import Predictor
from autoseg.inference.sources import Source
from autoseg.inference.uncertainty import uncertainty
from autoseg.inference.uncertainty_files import UncertaintyFiles
from autoseg.postprocessing import PredictedCase
from autoseg.postprocessing.label_maps import write_probabilities
from autoseg.postprocessing.scores import Scores

PREVIEW_FOLDER = "previews"
HYPOTHESIS_FOLDER = "hypotheses"
"""Contains one folder for each hypothesis number, with the same structure as a folder of predictions."""


class Wanted(TypedDict):
    """Arguments of :meth:`autoseg.inference.predictor.Predictor.scores`."""

    member_predictions: bool
    hypotheses: int


@dataclass(frozen=True)
class Output:
    """The output folder and the kinds of files to write."""

    folder: Path
    ending: str | None
    """File ending of label maps; None: the ending of each image."""
    probabilities: bool = False
    uncertainty: UncertaintyFiles | None = None
    preview: bool = False
    hypotheses: int = 0

    @property
    def wanted(self) -> Wanted:
        """What to compute in addition to the probabilities."""
        return {"member_predictions": self.uncertainty is not None, "hypotheses": self.hypotheses}

    def labels(self, case: Source) -> Path:
        """Return the path of a case's label map. It is written last, so that a case with a label map is complete."""
        return self.folder / f"{case.name}{self.ending or case.ending}"

    def scores(self, case: Source) -> Path:
        """Return the path of a case's probabilities."""
        return self.folder / f"{case.name}_probabilities.b2nd"

    def picture(self, case: Source) -> Path:
        """Return the path of a case's preview. Previews have their own folder, because label maps can be PNG too."""
        return self.folder / PREVIEW_FOLDER / f"{case.name}.png"

    def hypothesis(self, case: Source, number: int) -> Path:
        """Return the path of a hypothesis of a case."""
        return self.folder / HYPOTHESIS_FOLDER / str(number) / self.labels(case).name

    def remove_hypotheses(self, cases: Sequence[Source]) -> None:
        """Delete all hypotheses of cases, so that none of a previous model remain."""
        folders = [path for path in (self.folder / HYPOTHESIS_FOLDER).glob("*") if path.is_dir()]
        for path in (folder / self.labels(case).name for folder in folders for case in cases):
            path.unlink(missing_ok=True)

    def is_done(self, case: Source) -> bool:
        """Return whether all requested output files of a case exist."""
        wanted = [self.labels(case)]
        wanted += [self.scores(case)] if self.probabilities else []
        wanted += [self.picture(case)] if self.preview else []
        wanted += [self.hypothesis(case, number) for number in range(1, self.hypotheses + 1)]
        known = self.uncertainty is None or self.uncertainty.has(case.name)
        return known and all(path.exists() for path in wanted)

    def write(self, case: Source, scores: Sequence[Scores], predictor: Predictor) -> None:
        """Write all requested output files of a case."""
        from autoseg.previews.overlay import write_overlay

        if self.probabilities:
            write_probabilities(self.scores(case), scores, predictor.dataset)
        read = partial(case.read, predictor.dataset.channels)
        labels = predictor.finish.label_map(PredictedCase(scores, predictor.dataset, read))
        geometry = scores[0].preprocessing.geometry
        if self.uncertainty:
            found = uncertainty(scores, labels, predictor.dataset)
            networks = sum(len(member.networks) for member in predictor.members)
            self.uncertainty.write(case.name, found, labels, geometry, networks=networks, like=case.place)
        if self.preview:
            # Read the image again. Keeping it would cost memory in every run, and previews are rarely requested.
            image = case.read(predictor.dataset.channels)
            classes = predictor.dataset.classes
            write_overlay(self.picture(case), image, labels, None, title=case.name, classes=classes)
        for share in scores:
            for number, hypothesis in share.hypotheses.items():
                case.write(self.hypothesis(case, number), hypothesis, geometry, predictor.dataset)
        case.write(self.labels(case), labels, geometry, predictor.dataset)
