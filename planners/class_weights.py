"""Weights of classes by how much of the images they fill, as numbers for the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint import Fingerprint
from autoseg.losses import INVERSE_FREQUENCY
from autoseg.plan import Component, Plan

DIGITS = 4
"""Significant ones of a weight."""


def with_class_weights(plan: Plan, dataset: Dataset, fingerprint: Fingerprint) -> Plan:
    """Return a plan whose losses have numbers in place of :data:`INVERSE_FREQUENCY`."""
    configurations = {
        name: replace(
            configuration,
            loss=with_numbers(configuration.loss, dataset, fingerprint, place=f"field 'configurations.{name}.loss"),
        )
        for name, configuration in plan.configurations.items()
    }
    return replace(plan, configurations=configurations)


def with_numbers(loss: Component, dataset: Dataset, fingerprint: Fingerprint, *, place: str) -> Component:
    """Return a loss with numbers in place of :data:`INVERSE_FREQUENCY`, in the losses of a sum as well.

    Raises :class:`PlanError`, which begins with ``place``, where the dataset has regions: these have no such weights.
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
    """Return 1 / (C · share) of the background and each class, of which there are C: a voxel's mean weight is 1.

    The share is of the volume of the cropped images, which is that of the voxels once they are resampled, in the cases
    in which a class was annotated; ignored voxels, which the fingerprint does not count, are taken for background. A
    class that no case has weighs as much as the rarest that some case has. Samplers that prefer the foreground make
    it more frequent in batches than it is in images.
    """
    shares = _shares(dataset, fingerprint)
    rarest = shares[shares > 0].min()
    weights = 1 / (len(shares) * np.where(shares > 0, shares, rarest))
    return [float(f"{weight:.{DIGITS}g}") for weight in weights]


def _shares(dataset: Dataset, fingerprint: Fingerprint) -> np.ndarray:
    """Return the share of the background and each class, [C]."""
    names = list(dataset.classes)
    filled, looked_at, whole = np.zeros(len(names)), np.zeros(len(names)), 0.0
    for case in fingerprint.cases:
        voxel = float(np.prod(case.spacing))
        volume = voxel * float(np.prod(case.cropped_shape))
        known = np.array([name in dataset.annotated_classes(case.name) for name in names])
        filled += known * [voxel * case.class_voxels.get(name, 0) for name in names]
        looked_at += known * volume
        whole += volume
    return np.array([1 - filled.sum() / whole, *(filled / np.maximum(looked_at, 1e-12))])
