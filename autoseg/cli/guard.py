"""Converts the errors and results of a command to one message line and an exit status."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from autoseg.errors import AutosegError
from autoseg.files.storage import explain

BAD_INPUT = 2
INTERRUPTED = 130
DEBUG = "AUTOSEG_DEBUG"
"""Environment variable that --debug sets for one command: errors show their traceback."""


def guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """Wrap a command: an error that a user can fix prints one line and gives status 2; a result is the exit status."""

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
            say("autoseg: interrupted; run the same command again to continue")
            status = INTERRUPTED
        except BrokenPipeError:
            # The reader of the output closed the pipe, as in 'autoseg check | head'. This is not an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except OSError as error:
            # Most functions that write files raise AutosegError. Appending to a log or a table can still raise OSError.
            if DEBUG in os.environ:
                raise
            say(f"autoseg: {explain(error)}")
            status = BAD_INPUT
        raise typer.Exit(status)

    return run


def say(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(line + "\n")
