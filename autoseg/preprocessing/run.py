"""Preprocess all cases of a dataset for the configurations of a plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.data.dataset import Case, Dataset, files_of, source_state
from autoseg.data.kinds import numbered
from autoseg.data.optional_channels import read_case
from autoseg.errors import AutosegError
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import read_geometry, read_labels
from autoseg.plan.schema import Configuration, Plan, data_id
from autoseg.preprocessing.case import prepare
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.declared import check_plan
from autoseg.preprocessing.extra.files import files_state
from autoseg.preprocessing.store import is_stored, write_case
from autoseg.system.execution import CaseExecutor, map_cases
from autoseg.workspace.paths import Workspace


@dataclass(frozen=True)
class _Item:
    """One case to be read and preprocessed for some configurations."""

    case: Case
    index: int
    """Seed of the drawn coordinates."""
    targets: tuple[tuple[Path, Configuration], ...]
    """Pairs (output folder, configuration that needs the data)."""


def preprocess(
    workspace: Workspace, plan: Plan, *, executor: CaseExecutor, progress: Callable[[str], None] | None = None
) -> int:
    """Preprocess the cases whose data are missing or outdated; return their number.

    Cases without a label map are preprocessed too. Each case is read once. Configurations that need the same data share
    them. Data of earlier plans are removed.
    """
    dataset = workspace.dataset()
    check_plan(plan, dataset, workspace.plan_file)
    described = replace(dataset, cases=())
    items = _missing(workspace, plan, dataset)
    map_cases(
        partial(_preprocess_item, dataset=described, plan=plan),
        items,
        names=[item.case.name for item in items],
        executor=executor,
        memory_needed=partial(_memory_needed, dataset=described),
        progress=progress,
    )
    _remove_stale(workspace, plan)
    return len(items)


def _missing(workspace: Workspace, plan: Plan, dataset: Dataset) -> list[_Item]:
    by_folder = {workspace.data(plan, c): c for c in plan.configurations.values()}
    items = []
    for index, case in numbered(dataset.cases):
        missing = tuple(
            (folder, configuration)
            for folder, configuration in by_folder.items()
            if not is_stored(folder, case.name, _made_from(case, dataset, configuration))
        )
        items += [_Item(case, index, missing)] if missing else []
    return items


def _made_from(case: Case, dataset: Dataset, configuration: Configuration) -> str:
    """Describe a case's files and its label values; if the description changes, the case is preprocessed again."""
    made_from = f"{source_state(case)}:{_joined(dataset.values)}"
    if dataset.regions:
        made_from += f":regions {' '.join(_joined(values) for values in dataset.regions.values())}"
    files = files_state(case, configuration.extra_channels)
    made_from += f":files {files}" if files else ""
    if case.missing_channels:
        made_from += (
            f":missing {' '.join(f'{number}={dataset.fill_values[number]:g}' for number in case.missing_channels)}"
        )
    return made_from + (f":ignore {_joined(sorted(dataset.ignore))}" if dataset.ignore else "")


def _joined(values: Iterable[int]) -> str:
    return ",".join(map(str, values))


def _preprocess_item(item: _Item, dataset: Dataset, plan: Plan) -> None:
    case = item.case
    labels = None if case.label is None else read_labels(case.label)[0]
    volume, files = read_case(case, len(dataset.channels)), files_of(case)
    for folder, configuration in item.targets:
        write_case(
            folder,
            case.name,
            prepare(volume, labels, dataset=dataset, plan=plan, configuration=configuration, files=files),
            source=_made_from(case, dataset, configuration),
            dtype=configuration.storage,
            seed=item.index,
            regions=tuple(dataset.class_indices.values()) if dataset.regions else (),
        )


def _memory_needed(item: _Item, dataset: Dataset) -> int:
    """Bytes needed for a case: three float32 copies of the image before or after resampling, whichever is larger."""
    try:
        geometry = read_geometry(item.case.images[0])
    except AutosegError:
        return 0
    return max(_memory_for(geometry, configuration, dataset) for _, configuration in item.targets)


def _memory_for(geometry: Geometry, configuration: Configuration, dataset: Dataset) -> int:
    # Transposition does not change the volume, so the axes can keep the order of the file.
    volume = np.prod(geometry.size) * np.prod(geometry.spacing)
    target = [spacing for spacing in configuration.spacing if spacing is not None]
    kept = np.max(geometry.spacing) if len(target) < len(geometry.spacing) else 1.0
    after = volume / (np.prod(target) * kept)
    channels = max(len(configuration.normalization), channel_layout(configuration, dataset).stored)
    return int(max(np.prod(geometry.size), after) * 4 * 3 * channels)


def _remove_stale(workspace: Workspace, plan: Plan) -> None:
    """Remove preprocessed data that no configuration of the plan uses."""
    wanted = {data_id(plan, configuration) for configuration in plan.configurations.values()}
    folder = workspace.root / "preprocessed"
    for other in folder.iterdir() if folder.is_dir() else []:
        if other.name not in wanted and other.is_dir():
            shutil.rmtree(other)
