"""Probabilities of held-out cases on disk, so that ensembles are evaluated without running the networks again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from autoseg.errors import WeightsError, WorkspaceError
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import write_json
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities, with_label_map
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import CaseRecord, StoredCase, read_array, write_rows
from autoseg.workspace.paths import FoldFolder

LEVELS = 255
"""Quantization steps from probability 0 to 1. The error of 0.002 changes the label of very few voxels. Where a network
is certain, which is nearly everywhere, the values are equal and compress well."""


@dataclass(frozen=True)
class ScoresRecord:
    """JSON record that is stored together with a case's probabilities."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    source: str
    """Identifies the version of the weights and of the preprocessed case (:func:`scores_source`)."""
    preprocessing: PreprocessingRecord


def score_stored_case(network: nn.Module, case: StoredCase, settings: TilingSettings, device: torch.device) -> Scores:
    """Compute the scores of a preprocessed case with one network."""
    image = np.asarray(case.image[:], dtype=np.float32)
    image = with_label_map(image, None if case.previous is None else case.previous[:])
    return Scores(predict_probabilities([network], image, settings, device), case.record.preprocessing)


def scores_source(folder: FoldFolder, record: CaseRecord) -> str:
    """Return a text that changes when the preprocessed case or the weights of the fold change."""
    status = folder.model.stat()
    return f"{record.source}:{status.st_size}:{status.st_mtime_ns}"


def write_scores(folder: FoldFolder, case: str, scores: Scores, *, source: str, mirror: bool = True) -> None:
    """Write the probabilities of a case on the configuration's grid, and the record last.

    Raises :class:`WeightsError` for NaN or infinity.
    """
    path = _path(folder, case, mirror=mirror)
    for volume in scores.probabilities:
        if not np.isfinite(volume.sum()):
            raise WeightsError(f"{folder.model}: predicts NaN or infinity for case '{case}'; train this fold again")
    path.with_suffix(".json").unlink(missing_ok=True)
    levels = (np.rint(volume * np.float32(LEVELS)).astype(np.uint8) for volume in scores.probabilities)
    write_rows(path, levels, shape=scores.probabilities.shape, dtype=np.dtype(np.uint8))
    write_json(path.with_suffix(".json"), to_plain(ScoresRecord(source, scores.preprocessing)))


def has_scores(folder: FoldFolder, case: str, *, source: str, mirror: bool = True) -> bool:
    """Return whether a case's probabilities exist and match ``source``, the current weights and data."""
    path = _path(folder, case, mirror=mirror)
    if not path.exists() or not path.with_suffix(".json").exists():
        return False
    try:
        return read_record(ScoresRecord, path.with_suffix(".json"), error=WorkspaceError).source == source
    except WorkspaceError:
        return False  # Probabilities with an unreadable record are computed again.


def read_scores(folder: FoldFolder, case: str, *, mirror: bool = True) -> Scores:
    """Read the probabilities [outputs,Z,Y,X] float32 of a case and its preprocessing record.

    Raises :class:`WorkspaceError` if the array and the record do not match.
    """
    path = _path(folder, case, mirror=mirror)
    record = read_record(ScoresRecord, path.with_suffix(".json"), error=WorkspaceError)
    stored = read_array(path)
    if stored.shape[1:] != record.preprocessing.shape:
        raise WorkspaceError(f"{path}: array and record do not fit each other; delete both and run choose again")
    return Scores(stored * np.float32(1 / LEVELS), record.preprocessing)


def stored_bytes(folder: FoldFolder) -> int:
    """Return the bytes on disk of the probabilities of a fold."""
    return sum(path.stat().st_size for path in folder.validation.glob("probabilities*/*") if path.is_file())


def _path(folder: FoldFolder, case: str, *, mirror: bool) -> Path:
    return folder.validation / ("probabilities" if mirror else "probabilities-unmirrored") / f"{case}.b2nd"
