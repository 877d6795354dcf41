"""What the values of label maps mean, as a dataset.json says it: classes or regions, ignored values, annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from autoseg.errors import DatasetError

LARGEST_LABEL = 2**31 - 1
"""Label maps are written with 32 bits at most."""
IGNORE = "ignore"
"""The entry of ``labels`` that names ignored values, as in nnU-Net."""


@dataclass(frozen=True)
class LabelMeaning:
    """The fields of a :class:`autoseg.dataset.Dataset` that ``labels`` and ``regions_class_order`` decide."""

    labels: dict[str, int]
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    region_order: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()


def parse_labels(description: dict[str, Any], path: Path) -> LabelMeaning:
    """Read classes or regions, and ignored values, from a description that was read from ``path``.

    Regions are segmented where any entry lists its values, ``"whole": [1, 2]``; a single number is then a region of one
    value. Ignored values are one number or several, whichever they are. Raises :class:`DatasetError` that names the
    field.
    """
    entries = _entries(description, path)
    ignore = _values(entries.pop(IGNORE), IGNORE, path) if IGNORE in entries else ()
    if any(isinstance(value, list) for value in entries.values()):
        regions = {name: _values(value, name, path) for name, value in entries.items() if not _is_zero(value)}
        meaning = LabelMeaning({}, regions, _region_order(description, regions, path), ignore)
    else:
        if description.get("regions_class_order"):
            raise DatasetError(
                f"{path}: field 'regions_class_order', found {description['regions_class_order']!r} without a region, "
                'expected labels such as {"whole": [1, 2]}; remove it or list the values of the regions'
            )
        classes = {name: _value(value, name, path, lowest=0) for name, value in entries.items()}
        meaning = LabelMeaning(_checked_classes(classes, path), ignore=ignore)
    _check_ignored(meaning, path)
    return meaning


def parse_annotated(
    description: dict[str, Any], path: Path, *, classes: Sequence[str], cases: Sequence[str] | None
) -> dict[str, tuple[str, ...]]:
    """Read which classes were annotated in the cases where not all were: ``"annotated": {"case": ["a", "b"]}``.

    ``cases`` are those that may be named; None allows any. Raises :class:`DatasetError` that names the field.
    """
    annotated = description.get("annotated", {})
    if not isinstance(annotated, dict):
        raise DatasetError(
            f"{path}: field 'annotated', found {annotated!r}, expected an object of case names and lists of classes"
        )
    allowed = None if cases is None else set(cases)
    for case, named in annotated.items():
        if allowed is not None and case not in allowed:
            raise DatasetError(f"{path}: field 'annotated', found '{case}', expected the name of a training case")
        unknown = [name for name in named if name not in classes] if isinstance(named, list) and named else [named]
        if unknown:
            raise DatasetError(
                f"{path}: field 'annotated.{case}', found {unknown[0]!r}, expected a list of at least one of "
                f"{', '.join(classes)}"
            )
    parts = {case: tuple(name for name in classes if name in named) for case, named in annotated.items()}
    return {case: part for case, part in parts.items() if len(part) < len(classes)}


def _entries(description: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return names with what stands for their values; nnU-Net v1 and the Decathlon have them the other way about."""
    labels = description.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise DatasetError(
            f'{path}: field \'labels\', found {labels!r}, expected an object like {{"background": 0, "tumour": 1}}'
        )
    if not all(key.isdecimal() and isinstance(value, str) for key, value in labels.items()):
        return dict(labels)
    names = list(labels.values())
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise DatasetError(f"{path}: field 'labels', found the name '{doubled}' twice, expected one value a name")
    return {value: int(key) for key, value in labels.items()}


def _is_zero(value: Any) -> bool:
    return not isinstance(value, bool) and value == 0


def _value(value: Any, name: str, path: Path, *, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= LARGEST_LABEL:
        raise DatasetError(
            f"{path}: field 'labels.{name}', found {value!r}, expected a whole number from {lowest} to {LARGEST_LABEL}"
        )
    return value


def _values(value: Any, name: str, path: Path) -> tuple[int, ...]:
    """Read one label value or a list of several; none of them may be the background's."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise DatasetError(f"{path}: field 'labels.{name}', found an empty list, expected at least one label value")
    values = tuple(_value(one, name, path, lowest=1) for one in listed)
    if len(set(values)) < len(values):
        raise DatasetError(f"{path}: field 'labels.{name}', found {list(values)}, expected each value once")
    return values


def _checked_classes(labels: dict[str, int], path: Path) -> dict[str, int]:
    """Refuse doubled values, and put the background first."""
    values = sorted(labels.values())
    doubled = {value for value in values if values.count(value) > 1}
    if doubled:
        raise DatasetError(f"{path}: field 'labels', found the value {min(doubled)} twice, expected one name a value")
    if 0 not in values:
        labels = {"background": 0, **labels}
    if len(labels) < 2:
        raise DatasetError(f"{path}: field 'labels', found the background alone, expected at least one class")
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _region_order(description: dict[str, Any], regions: dict[str, tuple[int, ...]], path: Path) -> tuple[int, ...]:
    """Read the value that is written for each region; one that is read back must mean the region again."""
    order = description.get("regions_class_order")
    place = f"{path}: field 'regions_class_order', found {order!r}"
    if not isinstance(order, list) or len(order) != len(regions):
        raise DatasetError(f"{place}, expected {len(regions)} label values, one for each of {', '.join(regions)}")
    for value, (name, values) in zip(order, regions.items(), strict=True):
        if isinstance(value, bool) or value not in values:
            raise DatasetError(f"{place}, expected one of {list(values)} for region '{name}' instead of {value!r}")
    if len(set(order)) < len(order):
        raise DatasetError(f"{place}, expected a value of its own for each region")
    for earlier, later in combinations(regions, 2):
        if set(regions[earlier]) <= set(regions[later]):
            raise DatasetError(
                f"{path}: field 'labels', found region '{later}' after '{earlier}', all of which it holds and would "
                "overwrite; list larger regions first"
            )
    return tuple(order)


def _check_ignored(meaning: LabelMeaning, path: Path) -> None:
    classes = meaning.regions or {name: (value,) for name, value in meaning.labels.items()}
    for name, values in classes.items():
        both = sorted(set(values) & set(meaning.ignore))
        if both:
            raise DatasetError(
                f"{path}: field 'labels.{IGNORE}', found {both[0]}, which is also a value of '{name}', expected a "
                "value of its own"
            )
