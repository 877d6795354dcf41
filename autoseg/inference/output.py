"""Where the results of a folder go, and whether they are there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.inference.export import Scores, write_probabilities
from autoseg.inference.predictor import Predictor
from autoseg.inference.sources import Source
from autoseg.inference.uncertainty import uncertainty
from autoseg.inference.uncertainty_files import UncertaintyFiles

PREVIEW_FOLDER = "previews"


@dataclass(frozen=True)
class Output:
    """Where and what is written."""

    folder: Path
    ending: str | None
    """That of each image, where it is None."""
    probabilities: bool = False
    uncertainty: bool = False
    preview: bool = False

    def labels(self, case: Source) -> Path:
        """Where the label map of a case is; it is written last, so that a case that has one is whole."""
        return self.folder / f"{case.name}{self.ending or case.ending}"

    def scores(self, case: Source) -> Path:
        """Where the probabilities of a case are."""
        return self.folder / f"{case.name}_probabilities.b2nd"

    def picture(self, case: Source) -> Path:
        """Where the preview of a case is; apart, as label maps may be pictures as well."""
        return self.folder / PREVIEW_FOLDER / f"{case.name}.png"

    def is_done(self, case: Source) -> bool:
        """Tell whether all that is wanted of a case is there."""
        wanted = [self.labels(case)]
        wanted += [self.scores(case)] if self.probabilities else []
        wanted += [UncertaintyFiles(self.folder).record(case.name)] if self.uncertainty else []
        wanted += [self.picture(case)] if self.preview else []
        return all(path.exists() for path in wanted)

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
            files = UncertaintyFiles(self.folder, predictor.overconfidence)
            files.write(case.name, found, labels, geometry, networks=networks, like=case.place)
        if self.preview:
            # Read again: few want pictures, and nobody else is to hold the image until the end for their sake.
            image = case.read(predictor.dataset.channels)
            classes = predictor.dataset.classes
            write_overlay(self.picture(case), image, labels, None, title=case.name, classes=classes)
        case.write(self.labels(case), labels, geometry, predictor.dataset)
