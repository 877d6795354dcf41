"""Errors that a user can fix. Each message is one line: where, what was found, what was expected, what to do."""

from __future__ import annotations


class AutosegError(Exception):
    """Base of all errors that the command line prints as one line, with exit status 2."""


class DatasetError(AutosegError, ValueError):
    """The dataset or its description is not usable."""


class ImageError(AutosegError, ValueError):
    """An image or label map cannot be read, or its content is not as expected."""


class PlanError(AutosegError, ValueError):
    """A plan or another settings file contains an invalid setting."""


class WorkspaceError(AutosegError, OSError):
    """A folder or file of the workspace cannot be read or written."""


class WeightsError(AutosegError, ValueError):
    """Weights are missing, damaged or made for another network."""


class BundleError(AutosegError, ValueError):
    """A bundle is damaged, contains unexpected files, or cannot be created."""


class TrainingError(AutosegError, RuntimeError):
    """Training cannot continue because of the data or the settings."""


class WorkerError(AutosegError, RuntimeError):
    """A worker process died or failed on a case."""


def one_line(error: BaseException) -> str:
    """Format an error with its type on one line; messages of libraries may have several lines."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
