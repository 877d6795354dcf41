"""The faults a user can mend: each is one line that says where, what was found, what was expected and what to do."""

from __future__ import annotations


class AutosegError(Exception):
    """Base of every fault that the command line turns into one line and exit status 2."""


class DatasetError(AutosegError, ValueError):
    """The dataset or its description cannot be used as it is."""


class ImageError(AutosegError, ValueError):
    """An image or label map cannot be read, or does not hold what it should."""


class PlanError(AutosegError, ValueError):
    """A plan, or another settings file, holds something that cannot be carried out."""


class WorkspaceError(AutosegError, OSError):
    """A folder or file of the workspace cannot be read or written."""


class WeightsError(AutosegError, ValueError):
    """Weights are missing, damaged or made for another network."""


class BundleError(AutosegError, ValueError):
    """A bundle is damaged, holds what a bundle does not, or cannot be made."""


class TrainingError(AutosegError, RuntimeError):
    """Training cannot go on, for a reason that lies in data or settings."""


class WorkerError(AutosegError, RuntimeError):
    """A worker process died or failed on a case."""
