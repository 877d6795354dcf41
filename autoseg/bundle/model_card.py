"""The model card: what a bundle's networks learnt from, how well they do, and who may use them, as Markdown."""

from __future__ import annotations

import math
import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import version

from autoseg import __version__
from autoseg.dataset import Dataset
from autoseg.evaluation.summary import Statistics, Summary
from autoseg.fingerprint import Fingerprint
from autoseg.inference.members import Ensemble
from autoseg.plan import Component, Configuration, Plan
from autoseg.templates import render

LICENSE_UNKNOWN = "not stated; ask whoever made this bundle before you use it"
_LIBRARIES = ("torch", "numpy", "SimpleITK")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells."""

    dataset: Dataset
    plan: Plan
    fingerprint: Fingerprint | None
    ensemble: Ensemble
    folds: dict[str, int]
    """Number of trained folds of each configuration that predicts, previous stages included."""
    summaries: dict[str, Summary]
    """Cross-validation, by configuration."""
    license_text: str | None
    named: dict[str, str] = field(default_factory=dict)
    """Network by configuration, where weights name another than the plan's."""


def model_card(facts: CardFacts) -> str:
    """Return the model card of a bundle as Markdown; nothing that comes from files can be read as markup."""
    return render(
        "autoseg.bundle",
        "model_card.md.j2",
        filters={"plain": escape_markdown},
        facts=facts,
        license=" ".join(facts.license_text.split()) if facts.license_text else LICENSE_UNKNOWN,
        ranges=_ranges(facts.fingerprint),
        extra={name: _computed(spec) for name, spec in facts.dataset.extra_channels.items()},
        configurations={
            name: _described(facts.plan.configuration(name), facts.named.get(name)) for name in facts.folds
        },
        tables={name: _table(summary) for name, summary in facts.summaries.items()},
        versions={"autoseg": __version__, "Python": platform.python_version()}
        | {library: version(library) for library in _LIBRARIES},
    )


def escape_markdown(text: object) -> str:
    """Return text on one line in which no character means anything to Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _computed(spec: Component) -> str:
    """Say what a channel is computed from that whoever predicts has to bring."""
    needed = [f"the sub-folder '{spec[key]}' beside the images" for key in ("points", "mask") if spec.get(key)]
    return " of ".join([str(spec["name"]), *needed])


def _ranges(fingerprint: Fingerprint | None) -> dict[str, str]:
    """Say in which range spacings and shapes lay: other images are outside of what was learnt."""
    if fingerprint is None or not fingerprint.cases:
        return {}
    found = {"Spacing (mm; z, y, x)": fingerprint.spacings, "Shape (voxels; z, y, x)": fingerprint.cropped_shapes}
    return {
        name: ", ".join(f"{low:.4g} to {high:.4g}" for low, high in zip(v.min(axis=0), v.max(axis=0), strict=True))
        for name, v in found.items()
    }


def _described(configuration: Configuration, named: str | None) -> str:
    spacing = "×".join("own" if s is None else f"{s:.3g}" for s in configuration.spacing)
    patch = "×".join(map(str, configuration.patch_size))
    # Of another network than the plan's, its patch, batch and loss are not how it was trained.
    trained = f", patch {patch}, batch {configuration.batch_size}, loss {configuration.loss.get('name')}"
    return (
        f"{named or configuration.network.get('name')}, spacing {spacing} mm"
        + ("" if named else trained)
        + (f", after {configuration.previous_stage}" if configuration.previous_stage else "")
    )


def _table(summary: Summary) -> list[tuple[str, ...]]:
    rows = []
    for name, found in summary.classes.items():
        measured = [_spread(found["dice"], 3), _spread(found["hd95"], 1), _spread(found["assd"], 2)]
        rows.append((name, *measured, str(found["dice"].count)))
    return rows


def _spread(statistics: Statistics, digits: int) -> str:
    if not statistics.count or math.isnan(statistics.mean):
        return "–"
    spread = "" if math.isnan(statistics.sd) else f" ± {statistics.sd:.{digits}f}"
    return f"{statistics.mean:.{digits}f}{spread}"
