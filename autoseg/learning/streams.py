"""Streams of a trainer: which cases its samples come from, and how they are drawn and augmented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

from autoseg.data.dataset import Case, Dataset
from autoseg.errors import PlanError
from autoseg.plan.schema import Configuration
from autoseg.registry import Component

LABELLED = "labelled"
"""Name of the stream of labelled cases. Validation on patches uses its batch size."""


@dataclass(frozen=True)
class StreamPlan:
    """A stream of samples."""

    batch_size: int
    sampling: Component
    augmentation: Component
    cases: Literal["labelled", "unlabelled", "tagged", "all"] = "labelled"
    """Cases with a label map, those without one, those with tags (with or without a label map), or all."""
    sites: tuple[str, ...] | None = None
    """Sites of the cases; None: all, also cases without a site."""
    views: Literal[1, 2] = 1
    """Number of views of each sample, each with its own augmentation."""


def labelled_stream(configuration: Configuration) -> StreamPlan:
    """Return the stream of a plan: all labelled cases with the planned batch, sampling and augmentation."""
    return StreamPlan(configuration.batch_size, configuration.sampling, configuration.augmentation)


def stream_cases(stream: StreamPlan, dataset: Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """Return the cases among ``names`` that belong to a stream, in their order."""
    wanted = set(names)
    found = {case.name for case in dataset.cases if case.name in wanted and _belongs(case, stream, dataset)}
    return tuple(name for name in names if name in found)


def _belongs(case: Case, stream: StreamPlan, dataset: Dataset) -> bool:
    if stream.sites is not None and dataset.sites.get(case.name) not in stream.sites:
        return False
    belongs = {
        "labelled": case.label is not None,
        "unlabelled": case.label is None,
        "tagged": case.name in dataset.tags,
        "all": True,
    }
    return belongs[stream.cases]


def check_streams(trainer: str, streams: Mapping[str, StreamPlan], dataset: Dataset) -> None:
    """Raise :class:`PlanError` if a stream has no cases in the dataset, or an invalid batch size.

    The dataset of a bundle lists no cases, so that nothing can be said about them.
    """
    every = [case.name for case in dataset.cases]
    for name, stream in streams.items():
        place = f"trainer '{trainer}', stream '{name}'"
        if stream.batch_size < 1:
            raise PlanError(f"{place}: found a batch of {stream.batch_size}, expected at least 1 sample")
        if every and not stream_cases(stream, dataset, every):
            raise PlanError(f"{place}: dataset {dataset.name} has no {described(stream)}; {_remedy(stream)}")


def described(stream: StreamPlan) -> str:
    """Describe the cases of a stream."""
    kind = "cases" if stream.cases == "all" else f"{stream.cases} cases"
    return kind if stream.sites is None else f"{kind} of site {' or '.join(stream.sites)}"


def _remedy(stream: StreamPlan) -> str:
    if stream.sites is not None:
        return "name the sites of the cases in dataset.json ('sites'), or plan with another --trainer"
    how = {
        "unlabelled": "put images without label maps into the folder unlabelledTr",
        "tagged": "name the tags of cases in dataset.json ('tags')",
    }
    return f"{how.get(stream.cases, 'add such cases')}, or plan with another --trainer"


def stream_purpose(name: str, *, trains: bool) -> int:
    """Return the number that separates the random numbers of a stream from all others of a fold.

    The stream of labelled cases has 0 in training and 1 in validation; other streams have numbers from their names.
    """
    if name == LABELLED:
        return 0 if trains else 1
    return 2**32 + 2 * crc32(name.encode()) + (0 if trains else 1)
