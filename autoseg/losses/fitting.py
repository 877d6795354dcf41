"""Whether a loss that a plan names fits the labels of the dataset."""

from __future__ import annotations

from typing import Any

from autoseg.dataset import IGNORED, Dataset
from autoseg.errors import PlanError
from autoseg.losses import losses
from autoseg.losses.labelled import LabelledLoss
from autoseg.losses.partial import activation_of
from autoseg.plan import Component


def check_loss(spec: Component, dataset: Dataset) -> None:
    """Raise :class:`PlanError` where a plan's loss was made for other regions or ignored values than a dataset's.

    A plan may be older than the dataset's description, and a person may edit both. The losses of a sum are checked one
    by one.
    """
    loss = losses.build(spec)
    parts = getattr(loss, "parts", None)
    if parts is None:
        _check(loss, f"loss '{spec['name']}':", dataset)
        return
    for place, (part, named) in enumerate(zip(parts, spec["of"], strict=True)):
        _check(part, f"loss '{spec['name']}', 'of[{place}]', '{named['name']}':", dataset)


def _check(loss: Any, begin: str, dataset: Dataset) -> None:
    """Check one loss; ``begin`` is the beginning of the message."""
    regions = [list(members) for members in dataset.class_indices.values()]
    end = "plan again with --replan"
    if activation_of(loss) != dataset.activation:
        kinds = {"softmax": "classes that exclude each other", "sigmoid": "regions that may overlap"}
        raise PlanError(
            f"{begin} found one for {kinds[activation_of(loss)]}, expected one for {kinds[dataset.activation]}, which "
            f"dataset {dataset.name} has; {_change_of_regions(loss, regions, dataset)}{end}"
        )
    if dataset.regions and [list(members) for members in loss.regions] != regions:
        raise PlanError(
            f"{begin} found regions {loss.regions}, expected {regions}, the places of their values in dataset "
            f"{dataset.name}; {end}"
        )
    found = getattr(loss, "ignore_index", None)
    if dataset.ignore and found != IGNORED:
        raise PlanError(
            f"{begin} found ignore_index {found}, expected {IGNORED}, since dataset {dataset.name} has ignored voxels; "
            f"{end}"
        )
    weights = getattr(loss, "weights", None)
    if weights is not None and len(weights) != dataset.outputs:
        raise PlanError(
            f"{begin} found {len(weights)} weights, expected {dataset.outputs}, those of the background and each class "
            f"of dataset {dataset.name}; {end}"
        )


def _change_of_regions(loss: Any, regions: list[list[int]], dataset: Dataset) -> str:
    """Say what to do where a field of the loss decides which of the two it is for."""
    if not isinstance(loss, LabelledLoss):
        return ""
    return f"set its field 'regions' to {regions if dataset.regions else 'null'}, or "
