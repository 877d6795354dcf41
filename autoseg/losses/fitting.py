"""Whether a loss that a plan names fits the labels of the dataset."""

from __future__ import annotations

from autoseg.dataset import IGNORED, Dataset
from autoseg.errors import PlanError
from autoseg.losses import losses
from autoseg.losses.partial import activation_of
from autoseg.plan import Component


def check_loss(spec: Component, dataset: Dataset) -> None:
    """Raise :class:`PlanError` where a plan's loss was made for other regions or ignored values than a dataset's.

    A plan may be older than the dataset's description, and a person may edit both.
    """
    loss = losses.build(spec)
    regions = [list(members) for members in dataset.class_indices.values()]
    begin, end = f"loss '{spec['name']}':", "plan again with --replan"
    if activation_of(loss) != dataset.activation:
        kinds = {"softmax": "classes that exclude each other", "sigmoid": "regions that may overlap"}
        raise PlanError(
            f"{begin} found one for {kinds[activation_of(loss)]}, expected one for {kinds[dataset.activation]}, which "
            f"dataset {dataset.name} has; {end}"
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
