"""Label maps of a previous stage (cascade), on the grid of the configuration that reads them.

A cascade reads the previous stage's label map as additional channels. The map is always prepared in the same way: it
starts on the grid of the image's file, and is cropped, transposed and resampled like the reference label maps
(:func:`labels_on_grid`). In training and validation, the map comes from the fold that held the case out, and is stored
next to the preprocessed images. In prediction, it comes from the average of all folds of the previous stage. Fold
``all`` also uses the maps of the numbered folds: a network that was trained on a case predicts it better than new
cases, so its maps would be better than the maps in prediction.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from autoseg.data.dataset import Dataset
from autoseg.data.kinds import labelled_part
from autoseg.data.splits import fold_cases
from autoseg.errors import TrainingError, WorkspaceError
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import write_json
from autoseg.images.volumes import read_labels
from autoseg.plan.schema import Plan
from autoseg.preprocessing.case import label_indices
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.resample import resample_labels
from autoseg.preprocessing.store import labels_path, read_case_record, write_array
from autoseg.system.execution import CaseExecutor, local_executor, map_cases
from autoseg.workspace.paths import Workspace

logger = logging.getLogger("autoseg.training")


@dataclass(frozen=True)
class PreviousRecord:
    """The record stored next to a label map."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    source: str
    """State of the label map's file and of the preprocessed case."""
    digest: str
    """Digest of the labels; a continued training uses it to check that the labels are unchanged."""


@dataclass(frozen=True)
class PreviousStage:
    """Source and destination of the label maps that a configuration reads."""

    maps: Mapping[str, Path]
    """Files of the label maps by case, on the grid of the image's file."""
    data: Path
    """Folder of the preprocessed cases."""
    folder: Path
    """Folder of the label maps on the grid of the preprocessed cases."""


@dataclass(frozen=True)
class _Item:
    """One label map to be resampled to its grid."""

    name: str
    file: Path
    folder: Path
    source: str
    preprocessing: PreprocessingRecord


def labels_on_grid(labels: np.ndarray, preprocessing: PreprocessingRecord, dataset: Dataset) -> np.ndarray:
    """Resample a label map [Z,Y,X] of label values from the file's grid to a configuration's grid.

    Returns indices into ``dataset.values``, starting at 1. Each value is a class of its own, also if the network
    segments regions.
    """
    indices = preprocessing.reorientation.apply(label_indices(labels[preprocessing.box.slices], dataset))
    return resample_labels(
        np.ascontiguousarray(indices), preprocessing.shape, separate_axis=preprocessing.separate_axis
    )


def find_previous_stage(workspace: Workspace, plan: Plan, name: str, *, fold: int | str) -> PreviousStage | None:
    """Find the held-out label maps that a fold of configuration ``name`` reads; None if it has no previous stage.

    Raises :class:`TrainingError` with the folds to train first if some maps are missing. Writes no files.
    """
    configuration = plan.configuration(name)
    stage = configuration.previous_stage
    if stage is None:
        return None
    ending = workspace.dataset().file_ending
    holders = _holders(workspace, fold)
    folders = {case: workspace.fold(stage, holder, plan) for case, holder in holders.items()}
    maps = {case: folder.validation / f"{case}{ending}" for case, folder in folders.items()}
    missing = {holders[case] for case in holders if not (maps[case].exists() and folders[case].model.exists())}
    if missing:
        first, *others = sorted(missing)
        folds = f"folds {', '.join(map(str, [first, *others]))} are" if others else f"fold {first} is"
        raise TrainingError(
            f"{name}: needs the validation label maps of {stage}, but {folds} not "
            f"trained and validated to the end; train first: autoseg train-fold {workspace.root} {stage} {first}"
        )
    return PreviousStage(
        maps, workspace.data(plan, configuration), workspace.previous_labels(plan, configuration, stage)
    )


def _holders(workspace: Workspace, fold: int | str) -> dict[str, int]:
    """Return the fold that held out each labelled case of ``fold`` (train and val); the first one if several did."""
    splits = workspace.splits()
    holders: dict[str, int] = {}
    for number, split in enumerate(splits):
        for case in split.val:
            holders.setdefault(case, number)
    wanted = labelled_part(workspace.dataset(), fold_cases(splits, fold))
    cases = sorted({*wanted.train, *wanted.val})
    never = next((case for case in cases if case not in holders), None)
    if never is not None:
        raise TrainingError(
            f"{workspace.splits_file}: case '{never}' is in no fold's val, expected it in one: the previous stage "
            "must predict each case with a fold not trained on it; add it to a val, or remove it from train"
        )
    return {case: holders[case] for case in cases}


def prepare_previous_stage(stage: PreviousStage, dataset: Dataset, *, executor: CaseExecutor | None = None) -> int:
    """Resample the label maps that are missing or outdated to their grid; return their number."""
    items = [item for item in _items(stage, dataset) if not _is_stored(item)]
    if items:
        logger.info("resampling %d label maps of the previous stage to the grid", len(items))
    map_cases(
        partial(_prepare_item, dataset=replace(dataset, cases=())),
        items,
        names=[item.name for item in items],
        executor=executor or local_executor(),
        memory_needed=_memory_needed,
    )
    return len(items)


def digest(folder: Path, cases: Sequence[str]) -> str:
    """Return a digest of the stored label maps of ``cases``."""
    records = (read_record(PreviousRecord, _record_path(folder, case), error=WorkspaceError) for case in cases)
    return _short_digest("".join(record.digest for record in records).encode())


def _items(stage: PreviousStage, dataset: Dataset) -> list[_Item]:
    values = ",".join(str(value) for value in dataset.values)
    items = []
    for name, file in stage.maps.items():
        record, status = read_case_record(stage.data, name), file.stat()
        source = f"{record.source}:{file.parent.parent.name}:{status.st_size}:{status.st_mtime_ns}:{values}"
        items.append(_Item(name, file, stage.folder, source, record.preprocessing))
    return items


def _is_stored(item: _Item) -> bool:
    """Return whether a label map is stored and was made from the current files."""
    path = _record_path(item.folder, item.name)
    if not path.exists() or not labels_path(item.folder, item.name).exists():
        return False
    try:
        return read_record(PreviousRecord, path, error=WorkspaceError).source == item.source
    except WorkspaceError:
        return False  # An unreadable record is written again.


def _prepare_item(item: _Item, dataset: Dataset) -> None:
    """Write one label map; its record is written last, so that a label map with a record is complete."""
    labels, geometry = read_labels(item.file)
    if geometry.size != item.preprocessing.geometry.size:
        raise WorkspaceError(
            f"{item.file}: found size {geometry.size}, expected {item.preprocessing.geometry.size} as its image; "
            "remove the file and train its fold again"
        )
    prepared = labels_on_grid(labels, item.preprocessing, dataset)
    write_array(labels_path(item.folder, item.name), prepared)
    record = PreviousRecord(item.name, item.source, _short_digest(np.ascontiguousarray(prepared).tobytes()))
    write_json(_record_path(item.folder, item.name), to_plain(record))


def _memory_needed(item: _Item) -> int:
    """Bytes needed for a label map: read, as indices, transposed and resampled, at most four bytes per voxel each."""
    return 4 * int(3 * np.prod(item.preprocessing.geometry.size) + np.prod(item.preprocessing.shape))


def _record_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def label_channels(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Convert labels [N,*space] to one-hot channels [N,count,*space] float32 for the labels 1 to ``count``.

    The background has no channel, as in nnU-Net: all channels are zero there.
    """
    values = torch.arange(1, count + 1, dtype=labels.dtype, device=labels.device)
    return (labels[:, None] == values.reshape(-1, *[1] * (labels.ndim - 1))).float()


def split_label_map(images: torch.Tensor, count: int) -> torch.Tensor:
    """Replace the last channel of images [N,C+1,*space], a label map, by ``count`` channels; 0 changes nothing."""
    return torch.cat([images[:, :-1], label_channels(images[:, -1], count)], dim=1) if count else images
