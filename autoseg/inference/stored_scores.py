"""Probabilities of held-out cases on disk, from which ensembles are tried out without computing anything again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from autoseg.errors import WeightsError, WorkspaceError
from autoseg.inference.export import Scores
from autoseg.inference.sliding_window import Window, predict_probabilities, with_label_map
from autoseg.preprocessing.case import Steps
from autoseg.preprocessing.store import CaseRecord, StoredCase, read_array, write_rows
from autoseg.records import read_record, to_plain
from autoseg.storage import write_json
from autoseg.workspace import FoldFolder

LEVELS = 255
"""Steps from probability 0 to 1. The error of 0.002 moves hardly a voxel, and where a network is sure, which is nearly
everywhere, the values are all alike and compress to almost nothing."""


@dataclass(frozen=True)
class ScoresRecord:
    """What is stored beside a case's probabilities."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    source: str
    """State of the weights and of the preprocessed case."""
    steps: Steps


def score_stored_case(network: nn.Module, case: StoredCase, window: Window, device: torch.device) -> Scores:
    """Predict a preprocessed case."""
    image = np.asarray(case.image[:], dtype=np.float32)
    image = with_label_map(image, None if case.previous is None else case.previous[:])
    return Scores(predict_probabilities([network], image, window, device), case.record.steps)


def scores_source(folder: FoldFolder, record: CaseRecord) -> str:
    """Tell from what a fold's probabilities of a case are made, to see whether that has changed since."""
    status = folder.model.stat()
    return f"{record.source}:{status.st_size}:{status.st_mtime_ns}"


def write_scores(folder: FoldFolder, case: str, scores: Scores, *, source: str, mirror: bool = True) -> None:
    """Write the probabilities of a case on the configuration's grid; the record comes last."""
    path = _path(folder, case, mirror=mirror)
    for volume in scores.probabilities:
        if not np.isfinite(volume.sum()):
            raise WeightsError(f"{folder.model}: predicts NaN or infinity for case '{case}'; train this fold again")
    path.with_suffix(".json").unlink(missing_ok=True)
    levels = (np.rint(volume * np.float32(LEVELS)).astype(np.uint8) for volume in scores.probabilities)
    write_rows(path, levels, shape=scores.probabilities.shape, dtype=np.dtype(np.uint8))
    write_json(path.with_suffix(".json"), to_plain(ScoresRecord(source, scores.steps)))


def has_scores(folder: FoldFolder, case: str, *, source: str, mirror: bool = True) -> bool:
    """Tell whether a case's probabilities are there and made from the weights and the data as they are now."""
    path = _path(folder, case, mirror=mirror)
    if not path.exists() or not path.with_suffix(".json").exists():
        return False
    try:
        return read_record(ScoresRecord, path.with_suffix(".json"), error=WorkspaceError).source == source
    except WorkspaceError:
        return False  # A record that cannot be read is made again.


def read_scores(folder: FoldFolder, case: str, *, mirror: bool = True) -> Scores:
    """Read the probabilities [outputs,Z,Y,X] float32 of a case, and the steps that lead back to its file."""
    path = _path(folder, case, mirror=mirror)
    record = read_record(ScoresRecord, path.with_suffix(".json"), error=WorkspaceError)
    stored = read_array(path)
    if stored.shape[1:] != record.steps.shape:
        raise WorkspaceError(f"{path}: array and record do not fit each other; remove them and choose again")
    return Scores(stored * np.float32(1 / LEVELS), record.steps)


def stored_bytes(folder: FoldFolder) -> int:
    """Return how much disk the probabilities of a fold take."""
    return sum(path.stat().st_size for path in folder.validation.glob("probabilities*/*") if path.is_file())


def _path(folder: FoldFolder, case: str, *, mirror: bool) -> Path:
    return folder.validation / ("probabilities" if mirror else "probabilities-unmirrored") / f"{case}.b2nd"
