"""Left and right: pairs of classes that are mirror images, and the left-right axis of an image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.errors import DatasetError

_WORDS = (("left", "right"), ("l", "r"), ("lft", "rgt"), ("lh", "rh"), ("lt", "rt"))
"""Words for left and right: ``lh`` and ``rh`` mean hemispheres, ``lt`` and ``rt`` come from radiotherapy."""
_OTHER_SIDE = {word: other for pair in _WORDS for word, other in (pair, pair[::-1])}
_RIGHT = frozenset(right for _, right in _WORDS)
_UNLIKE = frozenset({"atrium", "atria", "ventricle", "ventricles", "heart", "cardiac"})
"""Chambers of the heart: left and right chambers differ in anatomy, so mirroring must not swap them."""
_SYMMETRIC = "lateral"
"""Lateral ventricles belong to the brain; the left and the right one are mirror images."""

_SEPARATORS = re.compile(r"[_\-\s]+")


@dataclass(frozen=True)
class Sides:
    """The classes that belong to one body side."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Left and right class of the same structure."""
    single: tuple[str, ...] = ()
    """Classes of one side without a counterpart."""


def sides_by_name(classes: Sequence[str]) -> Sides:
    """Find pairs of classes whose names differ only in a word for left or right, and sided classes without a partner.

    Words are separated by ``_``, ``-`` or space; upper and lower case are equal: "Left Kidney", "kidney_L",
    "lung-lft". Chambers of the heart have no side. A class named by a single letter has a side only if its counterpart
    exists. If several classes consist of the same words, none of them has a side, because a counterpart would be
    ambiguous.
    """
    said = Counter(map(_words, classes))
    classes = [name for name in classes if said[_words(name)] == 1]
    by_words = {words: name for name in classes if _may_be_sided(words := _words(name))}
    counterparts = {name: _counterpart(words, by_words) for words, name in by_words.items()}
    pairs = tuple(
        (name, other)
        for words, name in by_words.items()
        if (other := counterparts[name]) is not None and not _is_right(words, _words(other))
    )
    paired = {name for pair in pairs for name in pair}
    single = (name for name in classes if name not in paired and len(name) > 1 and _may_be_sided(_words(name)))
    return Sides(pairs, tuple(single))


def read_sides(declared: Any, classes: Sequence[str], path: Path) -> Sides:
    """Read the field ``sides`` of a dataset.json: pairs of classes, ``false`` or none for no sides, null to use names.

    Declared sides replace those found by name. Raises :class:`DatasetError` that names the field.
    """
    if declared is None:
        return sides_by_name(classes)
    if declared is False:
        return Sides()
    place = f"{path}: field 'sides', found"
    if not isinstance(declared, list):
        raise DatasetError(f'{place} {declared!r}, expected pairs of classes such as [["left", "right"]], or false')
    pairs: list[tuple[str, str]] = []
    for pair in declared:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DatasetError(f"{place} {pair!r}, expected a list of two classes, the left one first")
        for name in pair:
            if name not in classes:
                raise DatasetError(f"{place} {name!r}, expected one of {', '.join(classes)}")
        pairs.append((pair[0], pair[1]))
    doubled = first_doubled(name for pair in pairs for name in pair)
    if doubled is not None:
        raise DatasetError(f"{place} '{doubled}' twice, expected each class in one pair at most")
    return Sides(tuple(pairs))


def first_doubled(names: Iterable[str]) -> str | None:
    """Return the first name that occurs more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def lateral(orientation: str) -> tuple[int, str] | None:
    """Return the left-right axis (0 is z) of an image and the side, L or R, towards which its index grows.

    ``orientation`` is a value of :attr:`autoseg.images.geometry.Geometry.orientation`. Returns None if it is unknown.
    """
    return next(((axis, letter) for axis, letter in enumerate(orientation) if letter in "LR"), None)


def _words(name: str) -> tuple[str, ...]:
    return tuple(word for word in _SEPARATORS.split(name.casefold()) if word)


def _may_be_sided(words: tuple[str, ...]) -> bool:
    unlike = bool(_UNLIKE.intersection(words)) and _SYMMETRIC not in words
    return not unlike and any(word in _OTHER_SIDE for word in words)


def _counterpart(words: tuple[str, ...], by_words: dict[tuple[str, ...], str]) -> str | None:
    """Return the class whose words are equal except for one word, which names the other side."""
    for place, word in enumerate(words):
        if word in _OTHER_SIDE:
            other = by_words.get((*words[:place], _OTHER_SIDE[word], *words[place + 1 :]))
            if other is not None:
                return other
    return None


def _is_right(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Return whether the class with ``words`` is the right-hand one of a pair: a differing word means "right"."""
    return any(word != other and word in _RIGHT for word, other in zip(words, others, strict=True))
