"""Filling the prior maps of a fold's network: from its training cases alone, or from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from autoseg.dataset import Dataset
from autoseg.errors import TrainingError
from autoseg.images import read_volume
from autoseg.networks.prior_map import PriorMapReader
from autoseg.plan import Component, Plan
from autoseg.preprocessing.case import turn_to_plan
from autoseg.preprocessing.extra.frequency import Frequencies, in_cells
from autoseg.preprocessing.store import open_case
from autoseg.trainers.setting import Setting


def fill_prior_maps(network: nn.Module, setting: Setting) -> None:
    """Give each prior map of a network its values; a network without any is left alone.

    Of the preprocessed cases, only the label maps of the fold's training cases are read. Raises :class:`TrainingError`
    where a map's file has another number of channels than when the plan was made.
    """
    readers = [module for module in network.modules() if isinstance(module, PriorMapReader)]
    specs = [spec for spec in setting.configuration.extra_channels.values() if spec["name"] == "prior_map"]
    folder = setting.request.workspace.data(setting.plan, setting.configuration)
    # Readers stand in the order of their channels, see autoseg.networks.build.
    for reader, spec in zip(readers, specs, strict=True):
        if spec.get("file"):
            maps = map_from_file(spec, setting.plan)
        else:
            maps = frequency_maps(spec, folder, setting.split.train, setting.dataset)
        reader.map.copy_(torch.from_numpy(maps))  # type: ignore[operator]


def frequency_maps(spec: Component, folder: Path, names: Sequence[str], dataset: Dataset) -> np.ndarray:
    """Count how often each label covers each cell in some preprocessed cases; returns [labels,*grid] float32."""
    found = Frequencies(len(dataset.values), spec["grid"])
    for name in names:
        values = {value for members in dataset.annotated_classes(name).values() for value in members}
        annotated = {label: value in values for label, value in enumerate(dataset.values, start=1)}
        found.add(open_case(folder, name).labels[:], annotated)
    return found.maps


def map_from_file(spec: Component, plan: Plan) -> np.ndarray:
    """Bring the maps of a file to their grid, in the axes of the plan; returns [maps,*grid] float32."""
    volume = read_volume([Path(spec["file"])])
    if len(volume.array) != spec["maps"] or not np.isfinite(volume.array).all():
        raise TrainingError(
            f"{spec['file']}: found {len(volume.array)} channels, expected {spec['maps']} of finite values, as when "
            "the plan was made; restore the file or plan again"
        )
    turned = turn_to_plan(volume.geometry, plan).apply(volume.array)
    return np.stack([in_cells(channel, spec["grid"]) for channel in turned]).astype(np.float32)
