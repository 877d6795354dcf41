"""Self-configuring segmentation of medical images."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from autoseg.system.processors import prepare_openmp

if TYPE_CHECKING:
    from autoseg.api import plan_and_preprocess, train_fold
    from autoseg.choice import choose
    from autoseg.inference.folder import predict_folder
    from autoseg.inference.predictor import Predictor

__all__ = ["Predictor", "choose", "plan_and_preprocess", "predict_folder", "train_fold"]

_HOMES = {
    "plan_and_preprocess": "autoseg.api",
    "train_fold": "autoseg.api",
    "choose": "autoseg.choice",
    "predict_folder": "autoseg.inference.folder",
    "Predictor": "autoseg.inference.predictor",
}


# OpenMP reads its settings when the first package that uses it is loaded, also in worker processes.
prepare_openmp()


def __getattr__(name: str) -> Any:
    """Import a public name on its first use, so that importing autoseg is fast."""
    if name == "__version__":
        return version("autoseg")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'autoseg' has no attribute '{name}'")
