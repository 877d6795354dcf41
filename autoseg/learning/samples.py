"""Samples of a fold: its cases, the sampler for patch positions, and the augmentation."""

from __future__ import annotations

from typing import Literal

from autoseg.augmentation.planned import planned_augmentation
from autoseg.learning.annotation import annotation_table, stored_holders
from autoseg.learning.loader import Cases, PatchSource, fits_in_memory
from autoseg.learning.setting import Setting
from autoseg.networks.build import network_margin
from autoseg.plan.schema import mirror_axes
from autoseg.sampling.stream import ALL_FOLDS, CaseSampler, Stream, build_sampler


def fold_data(setting: Setting, names: tuple[str, ...]) -> Cases:
    """Open the preprocessed data of the cases ``names``, in memory if they fit."""
    folder = setting.request.workspace.data(setting.plan, setting.configuration)
    previous = setting.previous.folder if setting.previous else None
    return Cases(folder, names, in_memory=fits_in_memory(folder, names, previous=previous), previous=previous)


def patch_source(setting: Setting, cases: Cases, purpose: Literal["train", "validate"]) -> PatchSource:
    """Build the source of training samples, or of unaugmented patches for validation."""
    configuration, request = setting.configuration, setting.request
    trains = purpose == "train"
    fold = request.fold if isinstance(request.fold, int) else ALL_FOLDS
    augmentation = planned_augmentation(
        configuration.augmentation if trains else {"name": "none"},
        configuration,
        setting.dataset,
        mirror_axes=mirror_axes(setting.plan, configuration),
        mirrored_labels=setting.mirrored_labels,
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
