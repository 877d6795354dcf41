"""Read the fields of a dataset.json that describe single cases: groups, sites and tags."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Case
from autoseg.errors import DatasetError

MOST_SHOWN = 3
"""Maximum number of similar names in an error message."""


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the most similar ``known`` names for an error message; the first ones if none is similar."""
    found = difflib.get_close_matches(name, known, n=MOST_SHOWN, cutoff=0.4) or list(known[:MOST_SHOWN])
    return ", ".join(found) + (", …" if len(known) > len(found) else "")


def check_cases(named: Iterable[str], cases: Sequence[str], place: str) -> None:
    """Raise :class:`DatasetError`, which begins with ``place``, for a name that is not one of ``cases``."""
    known = set(cases)
    unknown = next((name for name in named if name not in known), None)
    if unknown is not None:
        raise DatasetError(f"{place}, found '{unknown}', expected the name of a case: {nearest(unknown, cases)}")


def read_groups(declared: Any, cases: Sequence[Case], path: Path) -> dict[str, str]:
    """Read the field ``groups``: an object that maps case names to group names.

    Raises :class:`DatasetError` for an unknown case, and if all labelled cases are in one group: there are no two folds
    then.
    """
    place = f"{path}: field 'groups'"
    if not isinstance(declared, dict):
        raise DatasetError(f"{place}, found {declared!r}, expected an object that maps case names to group names")
    found = {str(case): str(group) for case, group in declared.items()}
    check_cases(found, [case.name for case in cases], place)
    labelled = [case.name for case in cases if case.label is not None]
    if found and len({found.get(name, name) for name in labelled}) < 2 <= len(labelled):
        which = "cases" if len(labelled) == len(cases) else "labelled cases"
        raise DatasetError(
            f"{place}, found one group with all {which}, expected at least two; split it or remove the field"
        )
    return found


def read_sites(declared: Any, cases: Sequence[str], path: Path) -> dict[str, str]:
    """Read the field ``sites``: an object that maps case names to the site or scanner of the case.

    Raises :class:`DatasetError` for an unknown case, and for a site that is not a name.
    """
    place = f"{path}: field 'sites'"
    if not isinstance(declared, dict):
        raise DatasetError(f"{place}, found {declared!r}, expected an object that maps case names to sites")
    check_cases(declared, cases, place)
    for case, site in declared.items():
        _check_name(site, f"{path}: field 'sites.{case}'", "the name of a site or scanner")
    return dict(declared)


def read_tags(description: Mapping[str, Any], cases: Sequence[str], path: Path) -> dict[str, tuple[str, ...]]:
    """Read the field ``tags``: an object that maps case names to a tag or a list of tags; an empty list means none.

    Raises :class:`DatasetError` for an unknown case, a tag that ``tag_names`` does not declare, and a doubled tag.
    """
    declared = description.get("tags", {})
    if not isinstance(declared, dict):
        raise DatasetError(
            f"{path}: field 'tags', found {declared!r}, expected an object that maps case names to lists of tags"
        )
    check_cases(declared, cases, f"{path}: field 'tags'")
    order = read_tag_order(description, path)
    return {case: _tags(tags, order, f"{path}: field 'tags.{case}'") for case, tags in declared.items()}


def read_tag_order(description: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Read the field ``tag_names``: a list of all tags; empty if the field is absent."""
    declared = description.get("tag_names")
    if declared is None:
        return ()
    place = f"{path}: field 'tag_names'"
    if not isinstance(declared, list) or not declared:
        raise DatasetError(f"{place}, found {declared!r}, expected a list of at least one tag")
    return _tags(declared, (), place)


def _tags(declared: Any, order: Sequence[str], place: str) -> tuple[str, ...]:
    tags = [declared] if isinstance(declared, str) else declared
    if not isinstance(tags, list):
        raise DatasetError(f"{place}, found {declared!r}, expected a tag or a list of tags")
    for tag in tags:
        _check_name(tag, place, "the name of a tag")
        if tags.count(tag) > 1:
            raise DatasetError(f"{place}, found '{tag}' twice, expected each tag once")
        if order and tag not in order:
            raise DatasetError(f"{place}, found '{tag}', expected a tag of 'tag_names': {nearest(tag, order)}")
    return tuple(tags)


def _check_name(name: Any, place: str, expected: str) -> None:
    if not isinstance(name, str) or not name.strip():
        raise DatasetError(f"{place}, found {name!r}, expected {expected}")
