"""What commands show: a progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from autoseg.processors import warn_of_many_threads

LINES_PER_LOG = 10
"""Lines that a progress of any length leaves in a log."""

console = Console(highlight=False)
notices = Console(stderr=True, highlight=False)


class _Lines(logging.Handler):
    """Shows log records above a progress bar, warnings in colour on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "")
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        notices.print(prefix + record.getMessage(), style=style, markup=False, soft_wrap=True)


def set_up_logging() -> None:
    """Show what the library logs, and warn of threads that the environment asks for and that cannot all run."""
    logger = logging.getLogger("autoseg")
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())
        warn_of_many_threads()
    logger.setLevel(logging.INFO)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Keep what is logged in a file as well, with times."""
    from autoseg.storage import storage_error

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise storage_error(path, error) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("autoseg")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def case_progress() -> Iterator[Callable[[str, int], Callable[[str], None]]]:
    """Yield a function that begins a display (what is done, how many cases) and returns what counts a case."""
    if not sys.stderr.isatty():
        yield _logged
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notices, transient=True) as bar:

        def begin(description: str, total: int) -> Callable[[str], None]:
            task = bar.add_task(description, total=total)
            return lambda name: bar.advance(task)

        yield begin


def _logged(description: str, total: int) -> Callable[[str], None]:
    """Say how far a work is about ten times."""
    every = max(1, total // LINES_PER_LOG)
    done = 0

    def count(name: str) -> None:
        nonlocal done
        done += 1
        if done % every == 0 or done == total:
            notices.print(f"{description}: {done} of {total}", markup=False)

    return count


def duration(seconds: float) -> str:
    """Write a duration as a person would: 1:02:03 or 4:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
