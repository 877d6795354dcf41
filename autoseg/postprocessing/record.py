"""postprocessing.json: which steps cross-validation found to improve what was chosen, and by how much."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from autoseg.dataset import Dataset
from autoseg.errors import PlanError, WeightsError
from autoseg.plan import Component
from autoseg.postprocessing import build_steps
from autoseg.records import read_record, to_plain
from autoseg.storage import write_json


@dataclass(frozen=True)
class PostProcessing:
    """Steps that are applied to the label maps of certain configurations, in their order."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    configurations: tuple[str, ...]
    """What the steps were found for: the label maps of other configurations are left as they are."""
    trainer: str
    decoder: Component
    steps: tuple[Component, ...] = ()
    gains: dict[str, float] = field(default_factory=dict)
    """Change of each class' mean Dice on the cases on which the steps were chosen."""
    gain: float | None = None
    """Change of the mean Dice on those cases, which is too good: the steps were chosen for it."""
    expected_gain: float | None = None
    """The same where the steps for each part of the cases were chosen on the others: what new cases may expect."""


def write_postprocessing(path: Path, found: PostProcessing) -> None:
    """Write postprocessing.json."""
    write_json(path, to_plain(found))


def read_postprocessing(path: Path, dataset: Dataset) -> PostProcessing:
    """Read postprocessing.json; raise :class:`WeightsError` that names the first field that cannot be used."""
    found = read_record(PostProcessing, path, error=WeightsError)
    try:
        build_steps(found.steps, dataset)
    except PlanError as error:
        raise WeightsError(f"{path}: field 'steps': {error}; mend or remove the file") from None
    return found
