"""Planner of the random forest, a baseline without deep learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.learning.costs.memory import batch_cost
from autoseg.plan.schema import Configuration, Decision, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.family import NNUNET
from autoseg.planners.frame import Frame, assembled, draft, frame_of, spacing_2d
from autoseg.system.memory import format_bytes
from autoseg.system.units import times

NAME = "random_forest"
FEATURES = 400
"""Number of features: twice the number that each node tests. Prediction computes all of them for every voxel."""
TREES = 50
"""Number of trees without a time budget (Kamnitsas 2019, 3.4.1)."""
CONFIGURATIONS = ("2d", "3d_fullres")


@planners.register(NAME)
def plan_random_forest(request: PlanRequest) -> Plan:
    """Plan a forest at full resolution, in slices and in volumes. It reads whole images, so that no patch is planned.

    Raises :class:`PlanError` for other configurations, for members, and if the features do not fit into memory.
    """
    if request.members:
        raise PlanError(f"members: planner '{NAME}' has no members; omit --members, or plan with --planner emma")
    if request.trainer is not None and request.trainer.get("name") != NAME:
        raise PlanError(
            f"trainer '{request.trainer['name']}': found planner '{NAME}', whose network has no weights to train; plan "
            "with another --planner"
        )
    frame = frame_of(replace(request, trainer={"name": NAME}))
    found = {name: _configuration(frame, name) for name in _wanted(frame)}
    decisions = [_decision(name, configuration, frame) for name, configuration in found.items()]
    return assembled(frame, NAME, found, (*frame.normalized.decisions, frame.mirrored.decision, *decisions))


def _wanted(frame: Frame) -> tuple[str, ...]:
    names = frame.request.configurations
    unknown = [name for name in names or () if name not in CONFIGURATIONS]
    if unknown:
        raise PlanError(f"configuration '{unknown[0]}': expected one of {', '.join(CONFIGURATIONS)}")
    return names or (CONFIGURATIONS[:1] if frame.is_flat else CONFIGURATIONS)


def _configuration(frame: Frame, name: str) -> Configuration:
    dimension = 2 if name == "2d" else 3
    drafted = draft(frame, NNUNET, dimension, spacing_2d(frame) if dimension == 2 else frame.spacing)
    training = drafted.training
    if training.time_budget is None or frame.request.resources.time_budget is None:
        training = replace(training, iterations=TREES, time_budget=None)
    planned = replace(drafted, network=_network(frame.request.dataset), training=training, precision="float32")
    needed, memory = batch_cost(planned, frame.request.dataset).peak_bytes(1), frame.request.resources.memory
    if needed > memory:
        raise PlanError(
            f"memory: found {format_bytes(memory)}, expected at least {format_bytes(needed * 1.1)} for the features of "
            f"a forest; free some memory, or use fewer with --set {name}.trainer.voxels=N and more --memory"
        )
    return planned


def _network(dataset: Dataset) -> dict[str, Any]:
    regions = [list(indices) for indices in dataset.class_indices.values()]
    return {"name": NAME, "features": FEATURES, **({"regions": regions} if dataset.regions else {})}


def _decision(name: str, configuration: Configuration, frame: Frame) -> Decision:
    needed = batch_cost(configuration, frame.request.dataset).peak_bytes(1)
    return Decision(
        name,
        f"random forest on whole images at {times(configuration.spacing)} mm, about {format_bytes(needed)} of "
        f"{format_bytes(frame.request.resources.memory)}",
        (
            "the forest uses the data, the trainer's arguments, and the number of trees (iterations) or the time "
            "budget; it does not use patch, batch, loss, sampling, augmentation, optimizer and schedule",
        ),
    )
