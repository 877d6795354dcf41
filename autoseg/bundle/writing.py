"""Exporting a workspace: what prediction needs goes into one zip, without anything that tells of single patients."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from autoseg import __version__
from autoseg.bundle.contents import (
    BUNDLE_VERSION,
    MANIFEST,
    MODEL_CARD,
    MOST_FILES,
    Entry,
    Manifest,
    copy_and_digest,
    most_bytes,
)
from autoseg.bundle.model_card import CardFacts, model_card
from autoseg.choice import cross_validation
from autoseg.dataset import Dataset
from autoseg.errors import BundleError
from autoseg.evaluation.summary import Summary, summarize
from autoseg.inference.members import Ensemble, chosen, load_members, trained_folds
from autoseg.plan import Plan
from autoseg.preprocessing.extra import without_places
from autoseg.records import to_plain
from autoseg.storage import atomic_path, format_json, read_json
from autoseg.weights import named_network
from autoseg.workspace import Workspace

logger = logging.getLogger("autoseg")

Content = bytes | Path
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can hold; with one date for all, the same workspace gives the same bytes."""
_PLAIN_FILE = 0o100644 << 16


@dataclass(frozen=True)
class Exported:
    """What was written: the paths within the bundle, and how many folds of which configurations predict."""

    path: Path
    files: tuple[str, ...]
    folds: dict[str, int]


def export_bundle(
    workspace: Path | str, target: Path | str, *, license_text: str | None = None, overwrite: bool = False
) -> Exported:
    """Write what predicts with a workspace to the zip ``target``.

    It holds the configurations that :func:`autoseg.inference.members.chosen` gives, with all their folds, and the
    stages before them; they are loaded once, so that no bundle is made that cannot predict. Names of cases, and the
    places of files, stay behind. Raises :class:`BundleError` where ``target`` is in the way or a name cannot be used.
    """
    place, path = Workspace(Path(workspace)), Path(target)
    if path.suffix != ".zip" or path.is_dir():
        raise BundleError(f"{path}: expected a file name that ends in .zip; name another one")
    if path.exists() and not overwrite:
        raise BundleError(f"{path}: is there already; name another file or add --overwrite")
    plan = place.plan()
    ensemble = chosen(place, plan)
    load_members(place, device=torch.device("cpu"))
    folds = {name: trained_folds(place, name, ensemble.trainer) for name in _with_stages(plan, ensemble)}
    contents = {
        **_settings(place, plan, ensemble),
        **_measured(place, plan, ensemble, folds=folds, license_text=license_text),
        **_weights(place, ensemble, folds),
    }
    write_zip(path, contents)
    logger.info("%s: %d files, %.1f MB", path, len(contents) + 1, path.stat().st_size / 1e6)
    return Exported(path, (*contents, MANIFEST), {name: len(found) for name, found in folds.items()})


def _with_stages(plan: Plan, ensemble: Ensemble) -> list[str]:
    """List the configurations that predict and all that they build on, each once."""
    names = list(dict.fromkeys(ensemble.configurations))
    for name in names:
        before = plan.configuration(name).previous_stage
        if before is not None and before not in names:
            names.append(before)
    return names


def _settings(place: Workspace, plan: Plan, ensemble: Ensemble) -> dict[str, Content]:
    contents: dict[str, Content] = {
        "plan.json": _json(_without_places(plan)),
        "dataset.json": _json(_without_cases(place.dataset())),
        "ensemble.json": _json(ensemble),
    }
    postprocessing = place.root / "postprocessing.json"
    if postprocessing.exists():
        contents["postprocessing.json"] = _json(read_json(postprocessing))
    return contents


def _without_places(plan: Plan) -> Plan:
    """Return a plan that names files without their places; what they hold is in the weights."""
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
    """Return what a dataset means, without its cases: their names and places are nobody else's business."""
    return replace(dataset, cases=(), groups={}, annotated={}, extra_channels=without_places(dataset.extra_channels))


def _measured(
    place: Workspace, plan: Plan, ensemble: Ensemble, *, folds: Mapping[str, list[str]], license_text: str | None
) -> dict[str, Content]:
    """Return the model card, and the cross-validation of each configuration that was validated."""
    summaries: dict[str, Summary] = {}
    for name in folds:
        candidate = cross_validation(place, name, ensemble.trainer)
        if candidate:
            summaries[name] = _numbered(candidate.summary)
    weights = {name: place.fold(name, found[0], ensemble.trainer).model for name, found in folds.items()}
    networks = {name: named_network(path) for name, path in weights.items()}
    named = {name: str(network["name"]) for name, network in networks.items() if network}
    fingerprint = place.fingerprint() if place.fingerprint_file.exists() else None
    counts = {name: len(found) for name, found in folds.items()}
    facts = CardFacts(place.dataset(), plan, fingerprint, ensemble, counts, summaries, license_text, named)
    contents: dict[str, Content] = {MODEL_CARD: model_card(facts).encode()}
    return contents | {f"cross_validation/{name}.json": _json(summary.to_json()) for name, summary in summaries.items()}


def _numbered(summary: Summary) -> Summary:
    """Return a summary in which cases have numbers instead of names, which may tell who the patients are."""
    return summarize({f"case_{number:05d}": metrics for number, metrics in enumerate(summary.cases.values(), 1)})


def _weights(place: Workspace, ensemble: Ensemble, folds: Mapping[str, list[str]]) -> dict[str, Content]:
    files = [place.fold(name, fold, ensemble.trainer).model for name, found in folds.items() for fold in found]
    return {file.relative_to(place.root).as_posix(): file for file in files}


def write_zip(path: Path, contents: Mapping[str, Content]) -> None:
    """Write files, given as their bytes or as paths, and their manifest into a zip; weights are not compressed."""
    if len(contents) >= MOST_FILES:
        raise BundleError(f"{path}: would hold {len(contents)} files, expected fewer than {MOST_FILES}")
    for name in contents:
        if most_bytes(name) is None:
            raise BundleError(
                f"{path}: '{name}' cannot be in a bundle; rename the configuration with letters a to z, digits and '_'"
            )
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as bundle:
        entries = {name: _add(bundle, name, content) for name, content in contents.items()}
        manifest = Manifest(BUNDLE_VERSION, __version__, entries)
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
