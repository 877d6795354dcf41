"""Where the results of a folder go, and whether they are there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from autoseg.inference.export import Scores, write_probabilities
from autoseg.inference.predictor import Predictor
from autoseg.inference.sources import Source
from autoseg.inference.uncertainty import uncertainty
from autoseg.inference.uncertainty_files import UncertaintyFiles

PREVIEW_FOLDER = "previews"
HYPOTHESIS_FOLDER = "hypotheses"
"""Of folders named by the hypotheses' numbers, each of which is as a folder of predictions is."""


class Wanted(TypedDict):
    """As :meth:`autoseg.inference.predictor.Predictor.scores` takes it."""

    votes: bool
    hypotheses: int


@dataclass(frozen=True)
class Output:
    """Where and what is written."""

    folder: Path
    ending: str | None
    """That of each image, where it is None."""
    probabilities: bool = False
    uncertainty: UncertaintyFiles | None = None
    preview: bool = False
    hypotheses: int = 0

    @property
    def wanted(self) -> Wanted:
        """What is to be computed beside probabilities."""
        return {"votes": self.uncertainty is not None, "hypotheses": self.hypotheses}

    def labels(self, case: Source) -> Path:
        """Where the label map of a case is; it is written last, so that a case that has one is whole."""
        return self.folder / f"{case.name}{self.ending or case.ending}"

    def scores(self, case: Source) -> Path:
        """Where the probabilities of a case are."""
        return self.folder / f"{case.name}_probabilities.b2nd"

    def picture(self, case: Source) -> Path:
        """Where the preview of a case is; apart, as label maps may be pictures as well."""
        return self.folder / PREVIEW_FOLDER / f"{case.name}.png"

    def hypothesis(self, case: Source, number: int) -> Path:
        """Where a hypothesis of a case is."""
        return self.folder / HYPOTHESIS_FOLDER / str(number) / self.labels(case).name

    def remove_hypotheses(self, cases: Sequence[Source]) -> None:
        """Remove all hypotheses of cases, lest some of an earlier model stay beside fewer of another."""
        folders = [path for path in (self.folder / HYPOTHESIS_FOLDER).glob("*") if path.is_dir()]
        for path in (folder / self.labels(case).name for folder in folders for case in cases):
            path.unlink(missing_ok=True)

    def is_done(self, case: Source) -> bool:
        """Tell whether all that is wanted of a case is there."""
        wanted = [self.labels(case)]
        wanted += [self.scores(case)] if self.probabilities else []
        wanted += [self.picture(case)] if self.preview else []
        wanted += [self.hypothesis(case, number) for number in range(1, self.hypotheses + 1)]
        known = self.uncertainty is None or self.uncertainty.has(case.name)
        return known and all(path.exists() for path in wanted)

    def write(self, case: Source, scores: Sequence[Scores], predictor: Predictor) -> None:
        """Write all that is wanted of a case."""
        from autoseg.report.overlay import write_overlay

        if self.probabilities:
            write_probabilities(self.scores(case), scores, predictor.dataset)
        labels = predictor.finish.label_map(scores, predictor.dataset)
        geometry = scores[0].steps.geometry
        if self.uncertainty:
            found = uncertainty(scores, labels, predictor.dataset)
            networks = sum(len(member.networks) for member in predictor.members)
            self.uncertainty.write(case.name, found, labels, geometry, networks=networks, like=case.place)
        if self.preview:
            # Read again: few want pictures, and nobody else is to hold the image until the end for their sake.
            image = case.read(predictor.dataset.channels)
            classes = predictor.dataset.classes
            write_overlay(self.picture(case), image, labels, None, title=case.name, classes=classes)
        for share in scores:
            for number, hypothesis in share.hypotheses.items():
                case.write(self.hypothesis(case, number), hypothesis, geometry, predictor.dataset)
        case.write(self.labels(case), labels, geometry, predictor.dataset)
