"""Metrics that a trainer defines, on unaugmented patches of the validation cases."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from autoseg.learning.learner import Learner
from autoseg.learning.patches import Sources
from autoseg.learning.trainer import Batches, Measures
from autoseg.learning.validation.cases import MOST_PATCHES


def trainer_metrics(learner: Learner, sources: Sources | None, *, whole: bool) -> dict[str, float | None]:
    """Return the metrics of the learning method by name, None where one is not finite; empty if it defines none.

    ``sources``: the streams of validation cases; None without metrics. With ``whole``, every case is used at least
    once; otherwise each stream has at most :data:`MOST_PATCHES` patches.
    """
    method = learner.method
    if not isinstance(method, Measures) or sources is None:
        return {}
    modes = {name: module.training for name, module in method.modules.items()}
    for module in method.modules.values():
        module.eval()
    try:
        with torch.inference_mode():
            found = method.metrics(_batches(sources, learner.device, whole=whole))
    finally:
        for name, module in method.modules.items():
            module.train(modes[name])
    return {name: float(value) if math.isfinite(value) else None for name, value in found.items()}


def _batches(sources: Sources, device: torch.device, *, whole: bool) -> Iterator[Batches]:
    for index in range(_count(sources, whole=whole)):
        yield sources.to_device(sources[index], device)


def _count(sources: Sources, *, whole: bool) -> int:
    """Return the number of batches."""
    counts = [
        math.ceil((len(source.cases) if whole else min(len(source.cases), MOST_PATCHES)) / source.batch_size)
        for source in sources.streams.values()
    ]
    return max(counts, default=0)
