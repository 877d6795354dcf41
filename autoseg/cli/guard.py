"""What becomes of a command's errors and results: one line, and an exit status."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from autoseg.errors import AutosegError
from autoseg.storage import explain

BAD_INPUT = 2
INTERRUPTED = 130
DEBUG = "AUTOSEG_DEBUG"
"""Set by --debug for the length of a command: the traceback is shown."""


def guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """Wrap a command so that what a user can mend is one line and status 2, and what it returns is the status."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        from autoseg.cli.display import set_up_logging

        set_up_logging()
        try:
            status = command(*arguments, **options) or 0
        except AutosegError as error:
            if DEBUG in os.environ:
                raise
            say(f"autoseg: {' '.join(str(error).split())}")
            status = BAD_INPUT
        except KeyboardInterrupt:
            say("autoseg: interrupted; the same command goes on where it stopped")
            status = INTERRUPTED
        except BrokenPipeError:
            # The reader of our output went away, as 'autoseg check | head' does; that is no fault.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except OSError as error:
            # Most writing explains its own failures; appending to a log or a table may fail as well.
            if DEBUG in os.environ:
                raise
            say(f"autoseg: {explain(error)}")
            status = BAD_INPUT
        raise typer.Exit(status)

    return run


def say(line: str) -> None:
    """Write a line to the standard error."""
    sys.stderr.write(line + "\n")
