"""Registry of decoders, which convert scores to a label map, and of the post-processing steps that follow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.images.geometry import Volume
from autoseg.postprocessing.scores import Scores
from autoseg.registry import Component, Registry

postprocessing = Registry(
    "postprocessing",
    modules=("autoseg.postprocessing.decoding", "autoseg.postprocessing.components", "autoseg.postprocessing.holes"),
)


ReadImage = Callable[[], Volume]
"""Reads an image as it is stored."""


def without_image() -> Volume:
    """Default for :attr:`PredictedCase.read_image` without an image; always raises :class:`PlanError`."""
    raise PlanError("postprocessing: found no image, expected one, because a step needs it; predict from image files")


@dataclass(frozen=True)
class PredictedCase:
    """The inputs of a decoder or step."""

    scores: Sequence[Scores]
    """Scores of one or more configurations."""
    dataset: Dataset
    read_image: ReadImage = without_image
    """Reads the image; the file is read only when a step calls this."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing (z, y, x) of the image and of label maps, in mm."""
        return self.scores[0].preprocessing.geometry.spacing


class Step(Protocol):
    """A decoder or post-processing step of ensemble.json, built from the ``dataset`` and its own arguments.

    A registered class can have two optional attributes. ``decodes``: whether it is a decoder, which makes a label map
    from the scores; it then comes first and replaces the default (``argmax``). ``candidates(dataset)``, a static
    method: returns the specifications that cross-validation tries on held-out cases. One is kept if it improves the
    Dice of cases that were not used to select it.
    """

    def __call__(self, case: PredictedCase, labels: np.ndarray) -> np.ndarray:
        """Return label values [Z,Y,X].

        The input is never changed in place; it is returned itself if no voxel changes. For a decoder, ``labels`` is an
        empty array.
        """
        ...


def is_decoder(spec: Mapping[str, Any]) -> bool:
    """Return whether a specification names a decoder; raise :class:`PlanError` for an unknown name."""
    return bool(getattr(postprocessing.get(str(spec.get("name"))), "decodes", False))


def build_steps(specs: Sequence[Mapping[str, Any]], dataset: Dataset) -> tuple[Step, ...]:
    """Build steps from specifications ``{"name": ..., **arguments}``; raise :class:`PlanError` for unknown names.

    A name is unknown if no step, or no class of the dataset, has it.
    """
    return tuple(postprocessing.build(spec, dataset=dataset) for spec in specs)


def apply_steps(steps: Sequence[Step], case: PredictedCase, labels: np.ndarray) -> np.ndarray:
    """Apply steps in order to label values [Z,Y,X]; the input is not changed."""
    for step in steps:
        labels = step(case, labels)
    return labels


def candidates_of(dataset: Dataset, *, decode: bool) -> dict[str, list[Component]]:
    """Return the candidates of all decoders (``decode``) or of all other steps, by registered name."""
    return {
        name: list(kind.candidates(dataset))  # type: ignore[attr-defined]
        for name, kind in postprocessing.loaded().items()
        if hasattr(kind, "candidates") and bool(getattr(kind, "decodes", False)) == decode
    }
