"""From scores to the label map that is written: decoding, then post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoseg.dataset import Dataset
from autoseg.inference.decoding import decoders
from autoseg.inference.export import Scores
from autoseg.inference.members import Ensemble
from autoseg.plan import Component
from autoseg.postprocessing import apply_steps, build_steps
from autoseg.workspace import Workspace


@dataclass(frozen=True)
class Finish:
    """What cross-validation found to be best done with scores; as it stands, the largest score wins."""

    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    steps: tuple[Component, ...] = ()

    def label_map(self, scores: Sequence[Scores], dataset: Dataset) -> np.ndarray:
        """Return label values [Z,Y,X] on the file's grid from the scores of one or more configurations."""
        labels: np.ndarray = decoders.build(self.decoder)(scores, dataset)
        return apply_steps(build_steps(self.steps, dataset), labels, scores[0].steps.geometry.spacing)


def find_finish(workspace: Workspace, dataset: Dataset, ensemble: Ensemble, *, postprocessing: bool = True) -> Finish:
    """Return how the scores of an ensemble are finished, as postprocessing.json says if it was made for this one."""
    if not postprocessing or not workspace.postprocessing_file.exists():
        return Finish(ensemble.decoder)
    from autoseg.postprocessing.record import read_postprocessing

    found = read_postprocessing(workspace.postprocessing_file, dataset)
    made_for = (set(found.configurations), found.trainer, found.decoder)
    fits = made_for == (set(ensemble.configurations), ensemble.trainer, ensemble.decoder)
    return Finish(ensemble.decoder, found.steps if fits else ())
