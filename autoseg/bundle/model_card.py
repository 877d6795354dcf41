"""Model card of a bundle as Markdown: training data, networks, cross-validation results and licence."""

from __future__ import annotations

import math
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version

from autoseg.data.counts import kinds_in_words
from autoseg.data.dataset import Dataset
from autoseg.data.kinds import kind_counts
from autoseg.evaluation.summary import Statistics, Summary
from autoseg.files.templates import render
from autoseg.fingerprint.record import Fingerprint
from autoseg.inference.ensemble import Ensemble
from autoseg.plan.schema import SUPERVISED, Configuration, Plan
from autoseg.registry import Component

LICENSE_UNKNOWN = "not stated; ask the author of this bundle before you use it"
_LIBRARIES = ("torch", "numpy", "SimpleITK")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


@dataclass(frozen=True)
class CardFacts:
    """The facts in a model card."""

    dataset: Dataset
    plan: Plan
    fingerprint: Fingerprint | None
    ensemble: Ensemble
    folds: dict[str, int]
    """Number of trained folds of each configuration used for prediction, including previous stages."""
    summaries: dict[str, Summary]
    """Cross-validation results, by configuration."""
    license_text: str | None


def model_card(facts: CardFacts) -> str:
    """Return the model card of a bundle as Markdown; text from files is escaped, so that it is never markup."""
    return render(
        "autoseg.bundle",
        "model_card.md.j2",
        filters={"plain": escape_markdown},
        facts=facts,
        license=" ".join(facts.license_text.split()) if facts.license_text else LICENSE_UNKNOWN,
        cases=_cases(facts.dataset),
        ranges=_ranges(facts.fingerprint),
        extra={name: _computed(spec) for name, spec in facts.dataset.extra_channels.items()},
        trainers=sorted({facts.plan.configuration(name).trainer_name for name in facts.folds}),
        configurations={name: _described(facts.plan.configuration(name)) for name in facts.folds},
        tables={name: _table(summary) for name, summary in facts.summaries.items()},
        versions={"autoseg": version("autoseg"), "Python": platform.python_version()}
        | {library: version(library) for library in _LIBRARIES},
    )


def escape_markdown(text: object) -> str:
    """Return text on one line, with all special characters of Markdown and HTML escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _cases(dataset: Dataset) -> str:
    count = str(len(dataset.cases))
    return f"{count} ({kinds_in_words(dataset)})" if len(kind_counts(dataset)) > 1 else count


def _computed(spec: Component) -> str:
    """Describe a computed channel and the extra files that prediction needs for it."""
    needed = [f"the sub-folder '{spec[key]}' beside the images" for key in ("points", "mask") if spec.get(key)]
    return " of ".join([str(spec["name"]), *needed])


def _ranges(fingerprint: Fingerprint | None) -> dict[str, str]:
    """Return the ranges of spacing and shape in the training cases; networks are not trained for other values."""
    if fingerprint is None or not fingerprint.cases:
        return {}
    found = {"Spacing (mm; z, y, x)": fingerprint.spacings, "Shape (voxels; z, y, x)": fingerprint.cropped_shapes}
    return {
        name: ", ".join(f"{low:.4g} to {high:.4g}" for low, high in zip(v.min(axis=0), v.max(axis=0), strict=True))
        for name, v in found.items()
    }


def _described(configuration: Configuration) -> str:
    spacing = "×".join("own" if s is None else f"{s:.3g}" for s in configuration.spacing)
    patch = "×".join(map(str, configuration.patch_size))
    supervised = f", patch {patch}, batch {configuration.batch_size}, loss {configuration.loss.get('name')}"
    # Other trainers may use other batches and losses.
    trained = supervised if configuration.trainer == SUPERVISED else f", trainer {configuration.trainer_name}"
    return (
        f"{configuration.network.get('name')}, spacing {spacing} mm"
        + trained
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
