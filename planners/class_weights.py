"""Class weights by inverse frequency, as numbers for the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint.record import Fingerprint
from autoseg.losses import INVERSE_FREQUENCY
from autoseg.plan.schema import Plan
from autoseg.registry import Component

DIGITS = 4
"""Significant digits of a weight."""


def with_class_weights(plan: Plan, dataset: Dataset, fingerprint: Fingerprint) -> Plan:
    """Return the plan with numbers in its losses instead of :data:`INVERSE_FREQUENCY`."""
    configurations = {
        name: replace(
            configuration,
            loss=with_numbers(configuration.loss, dataset, fingerprint, place=f"field 'configurations.{name}.loss"),
        )
        for name, configuration in plan.configurations.items()
    }
    return replace(plan, configurations=configurations)


def with_numbers(loss: Component, dataset: Dataset, fingerprint: Fingerprint, *, place: str) -> Component:
    """Return a loss with numbers instead of :data:`INVERSE_FREQUENCY`, also in the losses of a sum.

    Raises :class:`PlanError`, which begins with ``place``, if the dataset has regions: regions may overlap and have no
    such weights.
    """
    changed: dict[str, Any] = {}
    if loss.get("weights") == INVERSE_FREQUENCY:
        if dataset.regions:
            raise PlanError(
                f"{place}.weights', found '{INVERSE_FREQUENCY}', expected null: dataset {dataset.name} has regions "
                "that may overlap"
            )
        changed["weights"] = inverse_frequencies(dataset, fingerprint)
    if isinstance(loss.get("of"), list):
        changed["of"] = [
            with_numbers(part, dataset, fingerprint, place=f"{place}.of.{number}") if isinstance(part, dict) else part
            for number, part in enumerate(loss["of"])
        ]
    return {**loss, **changed}


def inverse_frequencies(dataset: Dataset, fingerprint: Fingerprint) -> list[float]:
    """Return 1 / (C · share) of the background and each class, C weights in total; the mean weight of a voxel is 1.

    The share is the fraction of the volume of the cropped images, which is the fraction of voxels after resampling. It
    includes only cases in which the class is annotated. Ignored voxels count as background, because the fingerprint
    does not count them. A class without voxels gets the weight of the rarest class with voxels. Batches may contain
    more foreground than the images, because samplers prefer it.
    """
    shares = _shares(dataset, fingerprint)
    rarest = shares[shares > 0].min()
    weights = 1 / (len(shares) * np.where(shares > 0, shares, rarest))
    return [float(f"{weight:.{DIGITS}g}") for weight in weights]


def _shares(dataset: Dataset, fingerprint: Fingerprint) -> np.ndarray:
    """Return the share of the background and each class, [C]."""
    names = list(dataset.classes)
    filled, looked_at, whole = np.zeros(len(names)), np.zeros(len(names)), 0.0
    for case in fingerprint.labelled:
        voxel = float(np.prod(case.spacing))
        volume = voxel * float(np.prod(case.cropped_shape))
        known = np.array([name in dataset.annotated_classes(case.name) for name in names])
        filled += known * [voxel * case.class_voxels.get(name, 0) for name in names]
        looked_at += known * volume
        whole += volume
    return np.array([1 - filled.sum() / whole, *(filled / np.maximum(looked_at, 1e-12))])
