"""Check that the loss of a plan fits the labels of the dataset."""

from __future__ import annotations

from typing import Any

from autoseg.data.dataset import IGNORED, Dataset
from autoseg.errors import PlanError
from autoseg.losses import INVERSE_FREQUENCY, losses
from autoseg.losses.labelled import LabelledLoss
from autoseg.losses.partial import activation_of
from autoseg.losses.weighted_sum import WeightedSum
from autoseg.registry import Component


def check_loss(spec: Component, dataset: Dataset) -> None:
    """Raise :class:`PlanError` if the loss of a plan does not fit the regions, ignored values or classes of a dataset.

    A plan may be older than the dataset description, and users may edit both files. For a ``sum``, each loss is checked
    separately.
    """
    _check_numbers(spec)
    _check_parts(losses.build(spec), spec, f"loss '{spec['name']}'", dataset)


def _check_numbers(spec: Component) -> None:
    """Raise :class:`PlanError` if the plan still contains the placeholder for weights."""
    if spec.get("weights") == INVERSE_FREQUENCY:
        raise PlanError(
            f"loss '{spec.get('name')}', field 'weights': found '{INVERSE_FREQUENCY}', expected numbers; "
            "run 'autoseg plan WORKSPACE', which computes them"
        )
    for part in spec["of"] if isinstance(spec.get("of"), list) else ():
        if isinstance(part, dict):
            _check_numbers(part)


def _check_parts(loss: Any, spec: Component, place: str, dataset: Dataset) -> None:
    """Check a loss, or each loss of a sum; ``place`` is the beginning of the error message."""
    if not isinstance(loss, WeightedSum):
        _check(loss, f"{place}:", dataset)
        return
    for number, (part, named) in enumerate(zip(loss.parts, spec["of"], strict=True)):
        _check_parts(part, named, f"{place}, 'of[{number}]', '{named['name']}'", dataset)


def _check(loss: Any, begin: str, dataset: Dataset) -> None:
    """Check one loss; ``begin`` is the beginning of the error message."""
    regions = [list(members) for members in dataset.class_indices.values()]
    end = "plan again with --replan"
    if activation_of(loss) != dataset.activation:
        kinds = {"softmax": "classes that exclude each other", "sigmoid": "regions that may overlap"}
        raise PlanError(
            f"{begin} found a loss for {kinds[activation_of(loss)]}, expected a loss for {kinds[dataset.activation]}, "
            f"as in dataset {dataset.name}; {_change_of_regions(loss, regions, dataset)}{end}"
        )
    if dataset.regions and [list(members) for members in loss.regions] != regions:
        raise PlanError(
            f"{begin} found regions {loss.regions}, expected {regions}, the label indices in dataset "
            f"{dataset.name}; {end}"
        )
    found = getattr(loss, "ignore_index", None)
    if dataset.ignore and found != IGNORED:
        raise PlanError(
            f"{begin} found ignore_index {found}, expected {IGNORED}, because dataset {dataset.name} has ignored "
            f"voxels; {end}"
        )
    if not dataset.ignore and found not in (None, IGNORED):
        raise PlanError(
            f"{begin} found ignore_index {found}, expected null, because dataset {dataset.name} has no ignored voxels; "
            f"{end}"
        )
    weights = getattr(loss, "weights", None)
    if weights is not None and len(weights) != dataset.outputs:
        raise PlanError(
            f"{begin} found {len(weights)} weights, expected {dataset.outputs}: one for the background and one for "
            f"each class of dataset {dataset.name}; {end}"
        )


def _change_of_regions(loss: Any, regions: list[list[int]], dataset: Dataset) -> str:
    """Return the advice for a loss whose field ``regions`` selects softmax or sigmoid; otherwise an empty text."""
    if not isinstance(loss, LabelledLoss):
        return ""
    return f"set its field 'regions' to {regions if dataset.regions else 'null'}, or "
