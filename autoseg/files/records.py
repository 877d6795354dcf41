"""Convert between JSON files, which users may edit, and the frozen dataclasses of the program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autoseg.errors import AutosegError
from autoseg.files.storage import read_json

R = TypeVar("R")


def to_plain(record: Any) -> Any:
    """Convert a dataclass, including nested values, to dicts, lists, numbers and strings."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: to_plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, dict):
        return {str(key): to_plain(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_plain(value) for value in record]
    if isinstance(record, Path):
        return str(record)
    return record


def from_plain(record_type: type[R], plain: Any, *, source: str, error: Callable[[str], AutosegError]) -> R:
    """Validate plain values as a dataclass; ``error`` makes the exception from a message about the first wrong field.

    The ``__pydantic_config__`` of the dataclasses rejects unknown fields, so a mistyped name is not ignored.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(record_type).validate_python(plain)
    except ValidationError as validation:
        raise error(f"{source}: {describe(validation)}") from None


def describe(validation: Any) -> str:
    """Describe in one line the error of the first wrong field, and the number of further errors."""
    problems = validation.errors()
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"]) or "the whole file"
    found = "" if first["type"] == "missing" else f", found {_short(first['input'])}"
    message = first["msg"][0].lower() + first["msg"][1:]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"field '{field}'{found}: {message}{more}"


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_record(record_type: type[R], path: Path, *, error: Callable[[str], AutosegError]) -> R:
    """Read and validate a JSON file as a dataclass."""
    return from_plain(record_type, read_json(path), source=str(path), error=error)
