"""Where the results of a folder go, and whether they are there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.inference.export import Scores, write_probabilities
from autoseg.inference.predictor import Predictor
from autoseg.inference.sources import Source


@dataclass(frozen=True)
class Output:
    """Where and what is written."""

    folder: Path
    ending: str | None
    """That of each image, where it is None."""
    probabilities: bool = False

    def labels(self, case: Source) -> Path:
        """Where the label map of a case is; it is written last, so that a case that has one is whole."""
        return self.folder / f"{case.name}{self.ending or case.ending}"

    def scores(self, case: Source) -> Path:
        """Where the probabilities of a case are."""
        return self.folder / f"{case.name}_probabilities.b2nd"

    def is_done(self, case: Source) -> bool:
        """Tell whether all that is wanted of a case is there."""
        return self.labels(case).exists() and (not self.probabilities or self.scores(case).exists())

    def write(self, case: Source, scores: Sequence[Scores], predictor: Predictor) -> None:
        """Write all that is wanted of a case."""
        if self.probabilities:
            write_probabilities(self.scores(case), scores, predictor.dataset)
        labels = predictor.finish.label_map(scores, predictor.dataset)
        case.write(self.labels(case), labels, scores[0].steps.geometry, predictor.dataset)
