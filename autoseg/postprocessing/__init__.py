"""What is done to a finished label map, each step by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autoseg.dataset import Dataset
from autoseg.registry import Registry

Step = Callable[[np.ndarray, Sequence[float]], np.ndarray]
"""Takes label values [Z,Y,X] and the spacing (z, y, x) in mm; returns label values, the input where nothing changes."""

postprocessing = Registry(
    "postprocessing",
    modules=("autoseg.postprocessing.components", "autoseg.postprocessing.holes"),
)


def build_steps(specs: Sequence[Mapping[str, Any]], dataset: Dataset) -> tuple[Step, ...]:
    """Build steps from ``{"name": ..., **arguments}`` each; raise :class:`PlanError` on a name or class unknown."""
    return tuple(postprocessing.build(spec, dataset=dataset) for spec in specs)


def apply_steps(steps: Sequence[Step], labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Apply steps in their order to label values [Z,Y,X] with ``spacing`` (z, y, x) in mm; the input stays as it is."""
    for step in steps:
        labels = step(labels, spacing)
    return labels
