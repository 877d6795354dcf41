"""Label maps of a previous stage, each from the fold that did not see its case, on the grid of the one that reads them.

What a cascade reads beside the image is made in one way everywhere: the previous stage's label map on the grid of the
image's file, cropped, transposed and resampled as the reference label maps were (:func:`labels_on_grid`). For training
and validation the map comes from the fold that held the case out, and is kept beside the preprocessed images; for
prediction it comes from all folds of the previous stage, averaged. Fold ``all`` is no exception: its maps are those of
the numbered folds as well, since those of a network that saw the case would be better than any that prediction meets.
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

from autoseg.dataset import Dataset
from autoseg.errors import TrainingError, WorkspaceError
from autoseg.execution import default_workers, map_cases
from autoseg.images import read_labels
from autoseg.plan import Plan
from autoseg.preprocessing.case import Steps, label_indices
from autoseg.preprocessing.resample import resample_labels
from autoseg.preprocessing.store import labels_path, read_case_record, write_array
from autoseg.records import read_record, to_plain
from autoseg.splits import fold_cases
from autoseg.storage import write_json
from autoseg.workspace import Workspace

logger = logging.getLogger("autoseg.training")


@dataclass(frozen=True)
class PreviousRecord:
    """What is stored beside a label map."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    source: str
    """State of the label map's file and of the preprocessed case."""
    digest: str
    """Of the labels themselves, by which a training that is gone on with sees whether they are still the same."""


@dataclass(frozen=True)
class PreviousStage:
    """Where the label maps that a configuration reads come from, and where they go."""

    maps: Mapping[str, Path]
    """By case, on the grid of the file."""
    data: Path
    """The preprocessed cases."""
    folder: Path
    """The label maps on the grid of the preprocessed cases."""


@dataclass(frozen=True)
class _Item:
    """One label map to be brought to its grid."""

    name: str
    file: Path
    folder: Path
    source: str
    steps: Steps


def labels_on_grid(labels: np.ndarray, steps: Steps, dataset: Dataset) -> np.ndarray:
    """Bring a label map [Z,Y,X] of label values on the file's grid to a configuration's own grid.

    Returns the places of the values in ``dataset.values``, from 1 on: classes of their own even where regions are
    segmented.
    """
    indices = steps.turn.apply(label_indices(labels[steps.box.slices], dataset))
    return resample_labels(np.ascontiguousarray(indices), steps.shape, separate_axis=steps.separate_axis)


def find_previous_stage(
    workspace: Workspace, plan: Plan, name: str, *, fold: int | str, trainer: str
) -> PreviousStage | None:
    """Find the held-out label maps that a fold of configuration ``name`` reads; None if it has no previous stage.

    Raises :class:`TrainingError` that names the folds to train first where some are missing. Writes nothing.
    """
    configuration = plan.configuration(name)
    stage = configuration.previous_stage
    if stage is None:
        return None
    ending = workspace.dataset().file_ending
    holders = _holders(workspace, fold)
    folders = {case: workspace.fold(stage, holder, trainer) for case, holder in holders.items()}
    maps = {case: folder.validation / f"{case}{ending}" for case, folder in folders.items()}
    missing = {holders[case] for case in holders if not (maps[case].exists() and folders[case].model.exists())}
    if missing:
        first, *others = sorted(missing)
        folds = f"folds {', '.join(map(str, [first, *others]))} are" if others else f"fold {first} is"
        raise TrainingError(
            f"{name}: reads the label maps that {stage} made of the cases that its folds held out, but {folds} not "
            f"trained and validated to the end; train first: autoseg train-fold {workspace.root} {stage} {first}"
            + (f" --trainer {trainer}" if trainer != "supervised" else "")
        )
    return PreviousStage(
        maps, workspace.data(plan, configuration), workspace.previous_labels(plan, configuration, trainer)
    )


def _holders(workspace: Workspace, fold: int | str) -> dict[str, int]:
    """Return which fold held out each case that ``fold`` trains or validates on; the first where several did."""
    splits = workspace.splits()
    holders: dict[str, int] = {}
    for number, split in enumerate(splits):
        for case in split.val:
            holders.setdefault(case, number)
    wanted = fold_cases(splits, fold)
    cases = sorted({*wanted.train, *wanted.val})
    never = next((case for case in cases if case not in holders), None)
    if never is not None:
        raise TrainingError(
            f"{workspace.splits_file}: case '{never}' is in no fold's val, so that no previous stage can predict it "
            "unseen; add it to one, or leave it out of train"
        )
    return {case: holders[case] for case in cases}


def prepare_previous_stage(stage: PreviousStage, dataset: Dataset, *, workers: int | None = None) -> int:
    """Bring the label maps that are not there yet, or were made from others, to their grid; return how many."""
    items = [item for item in _items(stage, dataset) if not _is_stored(item)]
    if items:
        logger.info("bringing %d label maps of the previous stage to the grid", len(items))
    map_cases(
        partial(_prepare_item, dataset=replace(dataset, cases=())),
        items,
        names=[item.name for item in items],
        workers=default_workers() if workers is None else workers,
        memory_needed=_memory_needed,
    )
    return len(items)


def digest(folder: Path, cases: Sequence[str]) -> str:
    """Digest the label maps of ``cases`` as they are stored."""
    records = (read_record(PreviousRecord, _record_path(folder, case), error=WorkspaceError) for case in cases)
    return _short_digest("".join(record.digest for record in records).encode())


def _items(stage: PreviousStage, dataset: Dataset) -> list[_Item]:
    values = ",".join(str(value) for value in dataset.values)
    items = []
    for name, file in stage.maps.items():
        record, status = read_case_record(stage.data, name), file.stat()
        source = f"{record.source}:{file.parent.parent.name}:{status.st_size}:{status.st_mtime_ns}:{values}"
        items.append(_Item(name, file, stage.folder, source, record.steps))
    return items


def _is_stored(item: _Item) -> bool:
    """Tell whether a label map is there, and made from the files as they are now."""
    path = _record_path(item.folder, item.name)
    if not path.exists() or not labels_path(item.folder, item.name).exists():
        return False
    try:
        return read_record(PreviousRecord, path, error=WorkspaceError).source == item.source
    except WorkspaceError:
        return False  # A record that cannot be read is made again.


def _prepare_item(item: _Item, dataset: Dataset) -> None:
    """Write one label map; its record comes last, so that a label map with a record is whole."""
    labels, geometry = read_labels(item.file)
    if geometry.size != item.steps.geometry.size:
        raise WorkspaceError(
            f"{item.file}: found a size of {geometry.size}, expected {item.steps.geometry.size} as its image; "
            "remove it and train its fold again"
        )
    prepared = labels_on_grid(labels, item.steps, dataset)
    write_array(labels_path(item.folder, item.name), prepared)
    record = PreviousRecord(item.name, item.source, _short_digest(np.ascontiguousarray(prepared).tobytes()))
    write_json(_record_path(item.folder, item.name), to_plain(record))


def _memory_needed(item: _Item) -> int:
    """Bytes that a label map takes: as read, as indices, transposed and resampled, up to four bytes a voxel each."""
    return 4 * int(3 * np.prod(item.steps.geometry.size) + np.prod(item.steps.shape))


def _record_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
