"""Where a fold's samples come from: its cases, the places in them, and what becomes of patches."""

from __future__ import annotations

from typing import Literal

from autoseg.augmentation.planned import planned_augmentation
from autoseg.networks.build import network_margin
from autoseg.plan import mirror_axes
from autoseg.sampling import ALL_FOLDS, CaseSampler, Stream, build_sampler
from autoseg.trainers.annotation import annotation_table, stored_holders
from autoseg.trainers.loader import Cases, PatchSource, fits_in_memory
from autoseg.trainers.setting import Setting


def fold_data(setting: Setting, names: tuple[str, ...]) -> Cases:
    """Open the preprocessed data of some cases, in memory where they fit."""
    folder = setting.request.workspace.data(setting.plan, setting.configuration)
    previous = setting.previous.folder if setting.previous else None
    return Cases(folder, names, in_memory=fits_in_memory(folder, names, previous=previous), previous=previous)


def patch_source(setting: Setting, cases: Cases, purpose: Literal["train", "validate"]) -> PatchSource:
    """Make the stream of training samples, or the one of plain patches that validation takes."""
    configuration, request = setting.configuration, setting.request
    trains = purpose == "train"
    fold = request.fold if isinstance(request.fold, int) else ALL_FOLDS
    augmentation = planned_augmentation(
        configuration.augmentation if trains else {"name": "none"},
        configuration,
        setting.dataset,
        mirror_axes=mirror_axes(setting.plan, configuration),
        swapping=setting.swapping,
    )
    margin = network_margin(configuration, setting.dataset)
    sampler = build_sampler(configuration.sampling if trains else {"name": "foreground", "fraction": 1.0})
    return PatchSource(
        cases=cases,
        stream=Stream(seed=request.seed, fold=fold, cases=len(cases), purpose=0 if trains else 1),
        sampler=sampler,
        augmentation=augmentation,
        patch=configuration.patch_shape,
        dimension=configuration.dimension,
        batch_size=configuration.batch_size,
        transform=augmentation.loader_transform,
        annotated=annotation_table(setting.dataset, cases.names),
        holders=stored_holders(setting.dataset, cases) if isinstance(sampler, CaseSampler) else {},
        margin=(0,) * (3 - len(margin)) + margin,  # type: ignore[arg-type]
    )
