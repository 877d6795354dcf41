"""What a dataset's description says of extra channels, and what is found of it in a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.dataset import Case, Dataset
from autoseg.errors import AutosegError, DatasetError, ImageError, PlanError
from autoseg.geometry import Geometry
from autoseg.plan import Component
from autoseg.preprocessing.extra import ExtraChannel, extra_channels, files_of


def read_extra_channels(declared: Any, channels: Sequence[str], path: Path) -> dict[str, Component]:
    """Read the field ``extra_channels`` of a dataset.json: an object of names and components, see the registry.

    Places of files are made absolute. Raises :class:`DatasetError` for an unknown kind, arguments that it does not
    take, a file that is not there, and the name of a channel of the image.
    """
    if not isinstance(declared, dict):
        expected = 'an object like {"place": {"name": "position"}}'
        raise DatasetError(f"{path}: field 'extra_channels', found {declared!r}, expected {expected}")
    found: dict[str, Component] = {}
    for name, spec in declared.items():
        place = f"{path}: field 'extra_channels.{name}'"
        if name in channels:
            raise DatasetError(f"{place}, found the name of a channel of the image, expected another")
        if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
            raise DatasetError(f"{place}, found {spec!r}, expected an object with a 'name'")
        try:
            built(spec)
        except PlanError as error:
            raise DatasetError(f"{place}: {error}") from None
        found[name] = _with_absolute_file(spec, path, place)
    return found


def built(spec: Component) -> ExtraChannel:
    """Build a declared channel, from which what the planner fits may be left out."""
    fitted = getattr(extra_channels.get(spec["name"]), "fitted", {})
    made: ExtraChannel = extra_channels.build({**fitted, **spec})
    return made


def check_plan_channels(specs: Mapping[str, Component], dataset: Dataset, place: str) -> None:
    """Check that a plan has the extra channels of its dataset, and that they can be made."""
    if list(specs) != list(dataset.extra_channels):
        raise PlanError(
            f"{place}, found {', '.join(specs) or 'none'}, expected those of dataset.json: "
            f"{', '.join(dataset.extra_channels) or 'none'}; mend the plan or plan again"
        )
    for name, spec in specs.items():
        try:
            extra_channels.build(spec)
        except PlanError as error:
            raise PlanError(f"{place}, '{name}': {error}") from None
        if spec["name"] == "prior_map" and not spec.get("file") and spec.get("maps") != len(dataset.values):
            raise PlanError(
                f"{place}, '{name}.maps': found {spec.get('maps')}, expected {len(dataset.values)}, the label values "
                "of the dataset; plan again with --replan"
            )


def case_faults(case: Case, geometry: Geometry, dataset: Dataset) -> list[str]:
    """Say what is wrong with the files that a case's extra channels need."""
    faults = []
    for name, spec in dataset.extra_channels.items():
        try:
            built(spec).check(geometry, files_of(case))
        except ImageError as error:
            faults.append(f"dataset.json: field 'extra_channels.{name}': {error}")
    return faults


def files_state(case: Case, specs: Mapping[str, Component]) -> str:
    """Tell the files that a case's extra channels are made from as they are now; empty where there are none."""
    paths = [path for spec in specs.values() for path in built(spec).paths(files_of(case))]
    states = []
    for path in paths:
        try:
            status = path.stat()
            states.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            states.append(f"{path.name} missing")
    return ",".join(states)


def _with_absolute_file(spec: Component, path: Path, place: str) -> Component:
    from autoseg.images import read_volume

    file = spec.get("file")
    if not isinstance(file, str):
        return spec
    absolute = (path.parent / file).resolve()
    try:
        read_volume([absolute])
    except AutosegError as error:
        raise DatasetError(f"{place}: {error}") from None
    return {**spec, "file": str(absolute)}
