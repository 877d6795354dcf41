"""Output of the commands: progress bars on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from autoseg.system.processors import warn_of_many_threads

LINES_PER_LOG = 10
"""Approximate number of progress lines in a log, for any number of cases."""

console = Console(highlight=False)
notices = Console(stderr=True, highlight=False)


class _Lines(logging.Handler):
    """Shows log records above a progress bar; warnings and errors are coloured on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "")
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        notices.print(prefix + record.getMessage(), style=style, markup=False, soft_wrap=True)


def set_up_logging() -> None:
    """Show the log messages of the library; warn if the environment requests more threads than can run."""
    logger = logging.getLogger("autoseg")
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())
        warn_of_many_threads()
    logger.setLevel(logging.INFO)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Also write log messages to a file, with times."""
    from autoseg.files.storage import storage_error

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
    """Yield a function that starts a progress display (description, number of cases) and returns a case counter."""
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
    """Write about ten progress lines in total."""
    every = max(1, total // LINES_PER_LOG)
    done = 0

    def count(name: str) -> None:
        nonlocal done
        done += 1
        if done % every == 0 or done == total:
            notices.print(f"{description}: {done} of {total}", markup=False)

    return count


def duration(seconds: float) -> str:
    """Format a duration as H:MM:SS or M:SS, such as 1:02:03 or 4:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
