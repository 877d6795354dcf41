"""The preprocessed cases of a fold, decoded in memory if they fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoseg.preprocessing.store import StoredCase, open_case
from autoseg.system.memory import available_memory

CACHE_SHARE = 0.3
"""Largest share of the available memory for decoded cases."""
OPEN_CASES = 64
"""Number of cases that a worker keeps open, so that a read does not open the files again."""


class Cases:
    """Preprocessed cases of a fold, decoded in memory if they fit."""

    def __init__(self, folder: Path, names: Sequence[str], *, in_memory: bool, previous: Path | None = None) -> None:
        self.folder, self.names, self.in_memory, self.previous = folder, tuple(names), in_memory, previous
        self._open = lru_cache(maxsize=None if in_memory else OPEN_CASES)(self._read)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> StoredCase:
        return self._open(index)

    def __getstate__(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("folder", "names", "in_memory", "previous")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _read(self, index: int) -> StoredCase:
        case = open_case(self.folder, self.names[index], previous=self.previous)
        return case.decoded() if self.in_memory else case


class SomeCases:
    """Some of the cases of a fold; several streams share their decoded arrays."""

    def __init__(self, cases: Cases, names: Sequence[str]) -> None:
        self.folder, self.in_memory, self.names = cases.folder, cases.in_memory, tuple(names)
        places = {name: index for index, name in enumerate(cases.names)}
        self._cases, self._indices = cases, [places[name] for name in names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> StoredCase:
        return self._cases[self._indices[index]]


def fits_in_memory(folder: Path, names: Sequence[str], *, previous: Path | None = None) -> bool:
    """Return whether the decoded cases fit into :data:`CACHE_SHARE` of the available memory."""
    needed = sum(open_case(folder, name, previous=previous).nbytes for name in names)
    return needed <= CACHE_SHARE * available_memory()
