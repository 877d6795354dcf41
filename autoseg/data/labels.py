"""Meaning of label values in a dataset.json: classes or regions, ignored values, annotated classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from autoseg.data.case_fields import check_cases
from autoseg.errors import DatasetError

LARGEST_LABEL = 2**31 - 1
"""Largest label value: label maps are written with at most 32 bits."""
IGNORE = "ignore"
"""The entry of ``labels`` with the ignored values, as in nnU-Net."""


@dataclass(frozen=True)
class LabelMeaning:
    """The fields of a :class:`autoseg.data.dataset.Dataset` that come from ``labels`` and ``regions_class_order``."""

    labels: dict[str, int]
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    region_order: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()


def parse_labels(description: dict[str, Any], path: Path) -> LabelMeaning:
    """Read classes or regions, and ignored values, from the description in ``path``.

    If any entry is a list of values, such as ``"whole": [1, 2]``, all entries are regions; a single number is then a
    region of one value. The entry "ignore" is one value or a list of values. Raises :class:`DatasetError` that names
    the field.
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
    """Read the annotated classes of partly annotated cases: ``"annotated": {"case": ["a", "b"]}``.

    ``cases`` lists the allowed case names; None allows any. Raises :class:`DatasetError` that names the field.
    """
    annotated = description.get("annotated", {})
    if not isinstance(annotated, dict):
        raise DatasetError(
            f"{path}: field 'annotated', found {annotated!r}, expected an object of case names and lists of classes"
        )
    if cases is not None:
        check_cases(annotated, cases, f"{path}: field 'annotated'")
    for case, named in annotated.items():
        unknown = [name for name in named if name not in classes] if isinstance(named, list) and named else [named]
        if unknown:
            raise DatasetError(
                f"{path}: field 'annotated.{case}', found {unknown[0]!r}, expected a list of at least one of "
                f"{', '.join(classes)}"
            )
    parts = {case: tuple(name for name in classes if name in named) for case, named in annotated.items()}
    return {case: part for case, part in parts.items() if len(part) < len(classes)}


def _entries(description: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the entries as name → value; nnU-Net v1 and the Decathlon store them as value → name."""
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
        raise DatasetError(
            f"{path}: field 'labels', found the name '{doubled}' twice, expected one value for each name"
        )
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
    """Read one label value or a list of values; the background value 0 is not allowed."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise DatasetError(f"{path}: field 'labels.{name}', found an empty list, expected at least one label value")
    values = tuple(_value(one, name, path, lowest=1) for one in listed)
    if len(set(values)) < len(values):
        raise DatasetError(f"{path}: field 'labels.{name}', found {list(values)}, expected each value once")
    return values


def _checked_classes(labels: dict[str, int], path: Path) -> dict[str, int]:
    """Return the classes sorted by value, background first; raise :class:`DatasetError` for duplicate values."""
    values = sorted(labels.values())
    doubled = {value for value in values if values.count(value) > 1}
    if doubled:
        raise DatasetError(
            f"{path}: field 'labels', found the value {min(doubled)} twice, expected one name for each value"
        )
    if 0 not in values:
        labels = {"background": 0, **labels}
    if len(labels) < 2:
        raise DatasetError(f"{path}: field 'labels', found the background alone, expected at least one class")
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _region_order(description: dict[str, Any], regions: dict[str, tuple[int, ...]], path: Path) -> tuple[int, ...]:
    """Read the label value written for each region; it must be one of the region's own values."""
    order = description.get("regions_class_order")
    place = f"{path}: field 'regions_class_order', found {order!r}"
    if not isinstance(order, list) or len(order) != len(regions):
        raise DatasetError(f"{place}, expected {len(regions)} label values, one for each of {', '.join(regions)}")
    for value, (name, values) in zip(order, regions.items(), strict=True):
        if isinstance(value, bool) or value not in values:
            raise DatasetError(f"{place}, expected one of {list(values)} for region '{name}' instead of {value!r}")
    if len(set(order)) < len(order):
        raise DatasetError(f"{place}, expected a different value for each region")
    for earlier, later in combinations(regions, 2):
        if set(regions[earlier]) <= set(regions[later]):
            raise DatasetError(
                f"{path}: field 'labels', found region '{later}' after '{earlier}', which it contains and would "
                "overwrite completely; list larger regions first"
            )
    return tuple(order)


def _check_ignored(meaning: LabelMeaning, path: Path) -> None:
    classes = meaning.regions or {name: (value,) for name, value in meaning.labels.items()}
    for name, values in classes.items():
        both = sorted(set(values) & set(meaning.ignore))
        if both:
            raise DatasetError(
                f"{path}: field 'labels.{IGNORE}', found {both[0]}, which is also a value of '{name}', expected a "
                "value that no class uses"
            )
