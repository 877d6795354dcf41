"""The files of a case that a dataset's extra channels need: checks and state."""

from __future__ import annotations

from collections.abc import Mapping

from autoseg.data.dataset import Case, Dataset, files_of
from autoseg.errors import ImageError
from autoseg.images.geometry import Geometry
from autoseg.preprocessing.extra import built
from autoseg.registry import Component


def case_faults(case: Case, geometry: Geometry, dataset: Dataset) -> list[str]:
    """Return error messages for the files that a case's extra channels need."""
    faults = []
    for name, spec in dataset.extra_channels.items():
        try:
            built(spec).check(geometry, files_of(case))
        except ImageError as error:
            faults.append(f"dataset.json: field 'extra_channels.{name}': {error}")
    return faults


def files_state(case: Case, specs: Mapping[str, Component]) -> str:
    """Describe the current state of the files of a case's extra channels; empty without such files."""
    paths = [path for spec in specs.values() for path in built(spec).paths(files_of(case))]
    states = []
    for path in paths:
        try:
            status = path.stat()
            states.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            states.append(f"{path.name} missing")
    return ",".join(states)
