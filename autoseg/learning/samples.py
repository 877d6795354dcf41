"""Samples of a fold: the streams of its trainer, and the patches for validation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autoseg.augmentation.planned import planned_augmentation
from autoseg.data.dataset import Dataset
from autoseg.errors import TrainingError
from autoseg.learning.annotation import annotation_table, stored_holders
from autoseg.learning.batch import UNKNOWN
from autoseg.learning.cases import Cases, SomeCases, fits_in_memory
from autoseg.learning.patches import CaseFacts, PatchSource, Sources
from autoseg.learning.setting import Setting
from autoseg.learning.streams import LABELLED, StreamPlan, described, labelled_stream, stream_cases, stream_purpose
from autoseg.networks.build import network_margin
from autoseg.plan.schema import mirror_axes
from autoseg.sampling.stream import CaseSampler, Stream, build_sampler

IN_VALIDATION = {"name": "foreground", "fraction": 1.0}
"""Sampling of validation patches of labelled cases."""


def fold_data(setting: Setting, names: tuple[str, ...]) -> Cases:
    """Open the preprocessed data of the cases ``names``, in memory if they fit."""
    folder = setting.request.workspace.data(setting.plan, setting.configuration)
    previous = setting.previous.folder if setting.previous else None
    return Cases(folder, names, in_memory=fits_in_memory(folder, names, previous=previous), previous=previous)


def training_sources(setting: Setting) -> Sources:
    """Build the sources of all streams of the trainer, from the training cases of the fold.

    Raises :class:`TrainingError` if a stream has no case in the training part of the fold.
    """
    return _sources(setting, setting.streams, setting.split.train, trains=True)


def validation_sources(setting: Setting) -> Sources:
    """Build the sources of all streams from the validation cases of the fold, without augmentation.

    Streams without validation cases are left out.
    """
    names = setting.split.val
    streams = {key: plan for key, plan in setting.streams.items() if stream_cases(plan, setting.dataset, names)}
    return _sources(setting, streams, names, trains=False)


def validation_patches(setting: Setting, cases: Cases) -> PatchSource:
    """Build the source of patches of labelled validation cases, on which training measures Dice."""
    return _source(setting, LABELLED, labelled_stream(setting.configuration), cases, trains=False)


def _sources(setting: Setting, streams: Mapping[str, StreamPlan], names: tuple[str, ...], *, trains: bool) -> Sources:
    chosen = {key: stream_cases(plan, setting.dataset, names) for key, plan in streams.items()}
    for key, found in chosen.items():
        if not found:
            raise TrainingError(
                f"{setting.request.workspace.splits_file}, fold {setting.request.fold}: train has no "
                f"{described(streams[key])} for the stream '{key}' of trainer '{setting.configuration.trainer_name}', "
                "expected at least one; move such a case to train"
            )
    used = set().union(*chosen.values())
    _check_previous(setting, used)
    data = fold_data(setting, tuple(name for name in names if name in used))
    return Sources(
        {
            key: _source(
                setting,
                key,
                plan,
                data if chosen[key] == data.names else SomeCases(data, chosen[key]),
                trains=trains,
            )
            for key, plan in streams.items()
        }
    )


def _check_previous(setting: Setting, names: set[str]) -> None:
    """Raise :class:`TrainingError` if a cascade reads a case without a label map: no fold has predicted it."""
    without = sorted(names - {*setting.labelled(tuple(names))})
    if setting.previous and without:
        raise TrainingError(
            f"{setting.request.configuration}: trainer '{setting.configuration.trainer_name}' uses '{without[0]}', "
            "a case without label map and so without a prediction of the previous stage; use a configuration without "
            "'previous_stage'"
        )


def _source(setting: Setting, name: str, plan: StreamPlan, cases: Cases | SomeCases, *, trains: bool) -> PatchSource:
    """Build the source of one stream, for training or for validation."""
    configuration, request = setting.configuration, setting.request
    augmentation = planned_augmentation(
        plan.augmentation if trains else {"name": "none"},
        configuration,
        setting.dataset,
        mirror_axes=mirror_axes(setting.plan, configuration),
        mirrored_labels=setting.mirrored_labels,
    )
    margin = network_margin(configuration, setting.dataset)
    sampler = build_sampler(plan.sampling if trains else _validated(plan))
    return PatchSource(
        cases=cases,
        stream=Stream(
            seed=request.seed, fold=setting.fold_number, cases=len(cases), purpose=stream_purpose(name, trains=trains)
        ),
        sampler=sampler,
        augmentation=augmentation,
        patch=configuration.patch_shape,
        dimension=configuration.dimension,
        batch_size=plan.batch_size,
        transform=augmentation.loader_transform,
        facts=_facts(setting.dataset, cases.names),
        holders=stored_holders(setting.dataset, cases) if isinstance(sampler, CaseSampler) else {},
        margin=(0,) * (3 - len(margin)) + margin,  # type: ignore[arg-type]
        views=plan.views,
    )


def _validated(plan: StreamPlan) -> dict[str, object]:
    return IN_VALIDATION if plan.cases == "labelled" else dict(plan.sampling)


def _facts(dataset: Dataset, names: tuple[str, ...]) -> CaseFacts:
    labelled = {case.name for case in dataset.cases if case.label is not None}
    unlabelled = np.array([name not in labelled for name in names])
    return CaseFacts(
        annotated=annotation_table(dataset, names),
        unlabelled=unlabelled if unlabelled.any() else None,
        tags=_tag_table(dataset, names) if dataset.tags else None,
        sites=_site_numbers(dataset, names) if dataset.sites else None,
    )


def _tag_table(dataset: Dataset, names: tuple[str, ...]) -> np.ndarray:
    rows = [
        [int(tag in dataset.tags[name]) for tag in dataset.tag_names]
        if name in dataset.tags
        else [UNKNOWN] * len(dataset.tag_names)
        for name in names
    ]
    return np.array(rows, dtype=np.int64).reshape(len(names), len(dataset.tag_names))


def _site_numbers(dataset: Dataset, names: tuple[str, ...]) -> np.ndarray:
    numbers = {site: number for number, site in enumerate(sorted(set(dataset.sites.values())))}
    return np.array([numbers.get(dataset.sites.get(name, ""), UNKNOWN) for name in names], dtype=np.int64)
