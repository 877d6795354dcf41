"""Check a plan beyond its types: ranges of numbers, and consistency between fields."""

from __future__ import annotations

import math
import re
from typing import Any

from autoseg.data.sides import first_doubled
from autoseg.errors import PlanError
from autoseg.images.orientation import is_orientation
from autoseg.plan.schema import Configuration, MirroredClasses, Plan, Training

_NAME = re.compile(r"[\w-]+")
"""Names of trainers."""


def check_plan_values(plan: Plan, source: str) -> None:
    """Raise :class:`PlanError` for the first invalid field; ``source`` is the start of the message."""
    if not plan.configurations:
        raise PlanError(f"{source}: field 'configurations', found none, expected at least one; plan again")
    for name, configuration in plan.configurations.items():
        _check(configuration, f"{source}: field 'configurations.{name}")
    if sorted(plan.transpose) != [0, 1, 2]:
        raise PlanError(f"{source}: field 'transpose', found {list(plan.transpose)}, expected an order of 0, 1, 2")
    if plan.orientation is not None and not is_orientation(plan.orientation):
        raise PlanError(
            f"{source}: field 'orientation', found '{plan.orientation}', expected one letter of each of LR, AP and IS, "
            "such as SPL, or null"
        )
    if not set(plan.mirror_axes) <= {0, 1, 2} or len(set(plan.mirror_axes)) < len(plan.mirror_axes):
        raise PlanError(f"{source}: field 'mirror_axes', found {list(plan.mirror_axes)}, expected some of 0, 1, 2")
    if plan.mirrored_classes is not None:
        _check_mirrored_classes(plan.mirrored_classes, f"{source}: field 'mirrored_classes")
    if plan.dice_margin is not None and not 0 <= plan.dice_margin <= 1:
        raise PlanError(
            f"{source}: field 'dice_margin', found {plan.dice_margin}, expected a Dice from 0 to 1, or null"
        )
    _check_stages(plan, f"{source}: field 'configurations")


def _check_mirrored_classes(mirrored_classes: MirroredClasses, place: str) -> None:
    """Check that the mirrored labels have a valid axis, and pairs of classes without duplicates."""
    if mirrored_classes.axis not in (0, 1, 2):
        raise PlanError(f"{place}.axis', found {mirrored_classes.axis}, expected 0, 1 or 2")
    if not mirrored_classes.classes:
        raise PlanError(f"{place}.classes', found none, expected pairs of classes; or set 'mirrored_classes' to null")
    doubled = first_doubled(name for pair in mirrored_classes.classes for name in pair)
    if doubled is not None:
        raise PlanError(f"{place}.classes', found '{doubled}' twice, expected each class in one pair at most")


def _check(configuration: Configuration, place: str) -> None:
    """Check the values of a configuration; ``place`` is the start of the message."""
    patch = configuration.patch_size
    if len(patch) != configuration.dimension or min(patch) < 1:
        raise PlanError(
            f"{place}.patch_size', found {list(patch)}, expected {configuration.dimension} positive numbers of voxels"
        )
    if configuration.batch_size < 1:
        raise PlanError(f"{place}.batch_size', found {configuration.batch_size}, expected at least 1")
    if any(s is not None and s <= 0 for s in configuration.spacing):
        raise PlanError(f"{place}.spacing', found {list(configuration.spacing)}, expected millimetres above 0 or null")
    if any(s is None for s in configuration.spacing[3 - configuration.dimension :]):
        raise PlanError(f"{place}.spacing', found null on an axis of the patch, expected millimetres")
    if not _NAME.fullmatch(str(configuration.trainer.get("name", ""))):
        # The name is part of the path of the weights.
        raise PlanError(f"{place}.trainer', found {configuration.trainer}, expected an object with a 'name'")
    _check_strides(configuration, place)
    _check_training(configuration.training, f"{place}.training")


def _check_strides(configuration: Configuration, place: str) -> None:
    """Check that more than one voxel remains after pooling; the network checks all other faults of strides."""
    strides, axes = configuration.network.get("strides"), configuration.dimension
    if not isinstance(strides, list) or any(not _are_counts(stage, axes) for stage in strides):
        return
    factors = [math.prod(stage[axis] for stage in strides) for axis in range(axes)]
    if all(n == factor for n, factor in zip(configuration.patch_size, factors, strict=True)):
        raise PlanError(
            f"{place}.patch_size', found {list(configuration.patch_size)}, which pooling reduces to a single voxel, "
            "expected a larger patch or fewer strides"
        )


def _are_counts(values: Any, length: int) -> bool:
    return isinstance(values, list) and len(values) == length and all(isinstance(n, int) and n > 0 for n in values)


def _check_training(training: Training, place: str) -> None:
    if training.gradient_clip <= 0:
        raise PlanError(f"{place}.gradient_clip', found {training.gradient_clip}, expected a number above 0")
    if training.iterations is not None and training.iterations < 1:
        raise PlanError(f"{place}.iterations', found {training.iterations}, expected at least 1 or null")
    if training.iterations is None and training.time_budget is None:
        raise PlanError(f"{place}', found neither iterations nor time_budget, expected one of them")
    if training.time_budget is not None and training.time_budget <= 0:
        raise PlanError(f"{place}.time_budget', found {training.time_budget}, expected seconds above 0")
    if training.ema_decay is not None and not 0 <= training.ema_decay < 1:
        raise PlanError(f"{place}.ema_decay', found {training.ema_decay}, expected at least 0 and below 1")


def _check_stages(plan: Plan, place: str) -> None:
    """Check that every previous stage is a configuration of the plan, and that the stages form no cycle."""
    for name, configuration in plan.configurations.items():
        before = configuration.previous_stage
        if before is not None and before not in plan.configurations:
            known = ", ".join(other for other in plan.configurations if other != name)
            raise PlanError(f"{place}.{name}.previous_stage', found '{before}', expected null or one of: {known}")
    for name in plan.configurations:
        stages = [name]
        while (stage := plan.configuration(stages[-1]).previous_stage) is not None:
            if stage in stages:
                way = " → ".join([*stages, stage])
                raise PlanError(
                    f"{place}.{stages[-1]}.previous_stage', found '{stage}', which forms a cycle ({way}); "
                    "set one of them to null"
                )
            stages.append(stage)
