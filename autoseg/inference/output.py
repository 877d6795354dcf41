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


@dataclass(frozen=True)
class Output:
    """Where and what is written."""

    folder: Path
    ending: str | None
    """That of each image, where it is None."""
    probabilities: bool = False
    uncertainty: bool = False

    def labels(self, case: Source) -> Path:
        """Where the label map of a case is; it is written last, so that a case that has one is whole."""
        return self.folder / f"{case.name}{self.ending or case.ending}"

    def scores(self, case: Source) -> Path:
        """Where the probabilities of a case are."""
        return self.folder / f"{case.name}_probabilities.b2nd"

    def is_done(self, case: Source) -> bool:
        """Tell whether all that is wanted of a case is there."""
        wanted = [self.labels(case)]
        wanted += [self.scores(case)] if self.probabilities else []
        wanted += [UncertaintyFiles(self.folder).record(case.name)] if self.uncertainty else []
        return all(path.exists() for path in wanted)

    def write(self, case: Source, scores: Sequence[Scores], predictor: Predictor) -> None:
        """Write all that is wanted of a case."""
        if self.probabilities:
            write_probabilities(self.scores(case), scores, predictor.dataset)
        labels = predictor.finish.label_map(scores, predictor.dataset)
        geometry = scores[0].steps.geometry
        if self.uncertainty:
            found = uncertainty(scores, predictor.dataset)
            networks = sum(len(member.networks) for member in predictor.members)
            files = UncertaintyFiles(self.folder)
            files.write(case.name, found, labels, geometry, networks=networks, like=case.place)
        case.write(self.labels(case), labels, geometry, predictor.dataset)
