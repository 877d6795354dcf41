"""Export of a workspace: one zip with all that prediction needs, without data of single patients."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from autoseg.bundle.model_card import CardFacts, model_card
from autoseg.choice import cross_validation
from autoseg.data.dataset import Dataset
from autoseg.errors import BundleError
from autoseg.evaluation.summary import Summary, summarize
from autoseg.files.records import to_plain
from autoseg.files.storage import atomic_path, format_json
from autoseg.inference.ensemble import Ensemble, chosen, trained_folds
from autoseg.inference.members import load_members
from autoseg.plan.schema import Plan
from autoseg.preprocessing.extra import without_places
from autoseg.workspace.bundle_contents import (
    BUNDLE_VERSION,
    MANIFEST,
    MODEL_CARD,
    MOST_FILES,
    Entry,
    Manifest,
    copy_and_digest,
    most_bytes,
)
from autoseg.workspace.paths import Workspace

logger = logging.getLogger("autoseg")

Content = bytes | Path
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date of the zip format. One date for all files, so that the same workspace gives the same bytes."""
_PLAIN_FILE = 0o100644 << 16


@dataclass(frozen=True)
class Exported:
    """The written bundle: the paths in it, and the number of folds of each configuration."""

    path: Path
    files: tuple[str, ...]
    folds: dict[str, int]


def export_bundle(
    workspace: Path | str, target: Path | str, *, license_text: str | None = None, overwrite: bool = False
) -> Exported:
    """Write the files that prediction needs to the zip ``target``.

    The bundle contains all folds of the configurations that :func:`autoseg.inference.ensemble.chosen` returns, and of
    their previous stages. All models are loaded once before writing, to make sure that the bundle can predict. Case
    names and file locations are left out. Raises :class:`BundleError` if ``target`` exists or does not end in .zip, or
    if a file name is not allowed in a bundle.
    """
    place, path = Workspace(Path(workspace)), Path(target)
    if path.suffix != ".zip" or path.is_dir():
        raise BundleError(f"{path}: expected a file name that ends in .zip; choose another name")
    if path.exists() and not overwrite:
        raise BundleError(f"{path}: already exists; choose another name or add --overwrite")
    plan = place.plan()
    ensemble = chosen(place, plan)
    load_members(place, device=torch.device("cpu"))
    folds = {name: trained_folds(place, plan, name) for name in _with_stages(plan, ensemble)}
    contents = {
        **_settings(place, plan, ensemble),
        **_measured(place, plan, ensemble, folds=folds, license_text=license_text),
        **_weights(place, plan, folds),
    }
    write_zip(path, contents)
    logger.info("%s: %d files, %.1f MB", path, len(contents) + 1, path.stat().st_size / 1e6)
    return Exported(path, (*contents, MANIFEST), {name: len(found) for name, found in folds.items()})


def _with_stages(plan: Plan, ensemble: Ensemble) -> list[str]:
    """List the configurations of the ensemble and all their previous stages, each once."""
    names = list(dict.fromkeys(ensemble.configurations))
    for name in names:
        before = plan.configuration(name).previous_stage
        if before is not None and before not in names:
            names.append(before)
    return names


def _settings(place: Workspace, plan: Plan, ensemble: Ensemble) -> dict[str, Content]:
    return {
        "plan.json": _json(_without_places(plan)),
        "dataset.json": _json(_without_cases(place.dataset())),
        "ensemble.json": _json(ensemble),
    }


def _without_places(plan: Plan) -> Plan:
    """Return the plan with file names instead of paths; the content of these files is stored in the weights."""
    declared = without_places(plan.request.get("extra_channels", {}))
    return replace(
        plan,
        configurations={
            name: replace(configuration, extra_channels=without_places(configuration.extra_channels))
            for name, configuration in plan.configurations.items()
        },
        request={**plan.request, **({"extra_channels": declared} if declared else {})},
    )


def _without_cases(dataset: Dataset) -> Dataset:
    """Return the dataset without its cases, because case names, sites and paths are private."""
    return replace(
        dataset,
        cases=(),
        groups={},
        annotated={},
        tags={},
        tag_order=dataset.tag_names,
        sites={},
        extra_channels=without_places(dataset.extra_channels),
    )


def _measured(
    place: Workspace, plan: Plan, ensemble: Ensemble, *, folds: Mapping[str, list[str]], license_text: str | None
) -> dict[str, Content]:
    """Return the model card, and the cross-validation results of each validated configuration."""
    summaries: dict[str, Summary] = {}
    for name in folds:
        candidate = cross_validation(place, name, plan)
        if candidate:
            summaries[name] = _numbered(candidate.summary)
    fingerprint = place.fingerprint() if place.fingerprint_file.exists() else None
    counts = {name: len(found) for name, found in folds.items()}
    facts = CardFacts(place.dataset(), plan, fingerprint, ensemble, counts, summaries, license_text)
    contents: dict[str, Content] = {MODEL_CARD: model_card(facts).encode()}
    return contents | {f"cross_validation/{name}.json": _json(summary.to_json()) for name, summary in summaries.items()}


def _numbered(summary: Summary) -> Summary:
    """Return the summary with numbers instead of case names, because names may identify patients."""
    return summarize({f"case_{number:05d}": metrics for number, metrics in enumerate(summary.cases.values(), 1)})


def _weights(place: Workspace, plan: Plan, folds: Mapping[str, list[str]]) -> dict[str, Content]:
    files = [place.fold(name, fold, plan).model for name, found in folds.items() for fold in found]
    return {file.relative_to(place.root).as_posix(): file for file in files}


def write_zip(path: Path, contents: Mapping[str, Content]) -> None:
    """Write files (given as bytes or paths) and their manifest to a zip.

    Files given as paths, the weights, are not compressed. Raises :class:`BundleError` for too many files, or for a file
    name that is not allowed in a bundle.
    """
    if len(contents) >= MOST_FILES:
        raise BundleError(f"{path}: found {len(contents)} files to write, expected fewer than {MOST_FILES}")
    for name in contents:
        if most_bytes(name) is None:
            raise BundleError(
                f"{path}: '{name}' is not allowed in a bundle; rename the configuration with a to z, digits and '_'"
            )
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as bundle:
        entries = {name: _add(bundle, name, content) for name, content in contents.items()}
        manifest = Manifest(BUNDLE_VERSION, version("autoseg"), entries)
        _add(bundle, MANIFEST, _json(manifest))


def _add(bundle: zipfile.ZipFile, name: str, content: Content) -> Entry:
    member = zipfile.ZipInfo(name, _FIRST_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED if isinstance(content, bytes) else zipfile.ZIP_STORED
    member.external_attr, member.create_system = _PLAIN_FILE, 3
    member.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with (
        io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source,
        bundle.open(member, "w") as target,
    ):
        digest = copy_and_digest(source, target)  # type: ignore[arg-type]
    return Entry(digest, member.file_size)


def _json(record: object) -> bytes:
    return (format_json(to_plain(record)) + "\n").encode()
