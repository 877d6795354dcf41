"""ensemble.json: the configurations that predict. Cross-validation selects them; the default is all trained ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from autoseg.errors import PlanError, WeightsError
from autoseg.evaluation.summary import read_summary
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import write_json
from autoseg.plan.schema import Plan
from autoseg.postprocessing import build_steps
from autoseg.postprocessing.finish import check_decoder, check_steps
from autoseg.registry import Component
from autoseg.workspace.paths import Workspace


@dataclass(frozen=True)
class PostProcessing:
    """Post-processing steps in order of application, and their gain of Dice on the held-out cases."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    steps: tuple[Component, ...] = ()
    gains: dict[str, float] = field(default_factory=dict)
    """Change of the mean Dice of each class, on the cases that selected the steps."""
    gain: float | None = None
    """Change of the mean Dice on the same cases. It is optimistic, because these cases selected the steps."""
    expected_gain: float | None = None
    """Expected change of the mean Dice on new cases: the steps for each case are selected on the other cases."""


@dataclass(frozen=True)
class Ensemble:
    """Ensemble members, mirroring, decoder and post-processing, as selected by cross-validation."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    configurations: tuple[str, ...]
    dice: float | None = None
    """Mean foreground Dice in cross-validation."""
    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    """Converts mean probabilities to labels."""
    postprocessing: PostProcessing = field(default_factory=PostProcessing)
    """Steps that are applied to the decoder's label maps."""
    mirror: bool | None = None
    """Whether prediction averages over mirrored copies, because the gain justifies the time; None if not measured."""
    overconfidence: float = 0.0
    """Mean of expected Dice (from the probabilities) minus measured Dice, on the held-out cases."""
    dice_margin: float | None = None
    """Maximum Dice difference between an ensemble member and the best one; None if the best ensemble was selected."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Configurations that are not ensemble members, with the reason."""


def write_ensemble(workspace: Workspace, ensemble: Ensemble) -> None:
    """Write ensemble.json."""
    write_json(workspace.ensemble_file, to_plain(ensemble))


def read_ensemble(workspace: Workspace, plan: Plan) -> Ensemble:
    """Read ensemble.json; raise :class:`WeightsError` with the name of the first invalid field."""
    path = workspace.ensemble_file
    ensemble = read_record(Ensemble, path, error=WeightsError)
    names = ensemble.configurations
    if not names:
        raise WeightsError(f"{path}: field 'configurations', found none, expected at least one; remove the file")
    unknown = [name for name in names if name not in plan.configurations]
    if unknown or len(set(names)) < len(names):
        found = f"'{unknown[0]}'" if unknown else f"{', '.join(names)}"
        raise WeightsError(
            f"{path}: field 'configurations', found {found}, expected each once of: {', '.join(plan.configurations)}; "
            "fix or remove the file"
        )
    try:
        check_decoder(ensemble.decoder)
        build_steps([ensemble.decoder], workspace.dataset())
    except PlanError as error:
        raise WeightsError(f"{path}: field 'decoder': {error}; fix or remove the file") from None
    try:
        check_steps(ensemble.postprocessing.steps)
        build_steps(ensemble.postprocessing.steps, workspace.dataset())
    except PlanError as error:
        raise WeightsError(f"{path}: field 'postprocessing.steps': {error}; fix or remove the file") from None
    return ensemble


def trained_folds(workspace: Workspace, plan: Plan, configuration: str) -> list[str]:
    """List the completely trained folds of a configuration."""
    folder = workspace.models(configuration, plan)
    found = [path.parent.name.removeprefix("fold_") for path in folder.glob("fold_*/model.safetensors")]
    return sorted(fold for fold in found if re.fullmatch(r"\d+|all", fold))


def segments(workspace: Workspace, plan: Plan, configuration: str) -> bool:
    """Return whether the networks of a configuration segment; trainers of other tasks say so in their summaries."""
    folders = (workspace.fold(configuration, fold, plan) for fold in trained_folds(workspace, plan, configuration))
    return all(read_summary(folder.summary).segments for folder in folders if folder.summary.exists())


def chosen(workspace: Workspace, plan: Plan) -> Ensemble:
    """Return the ensemble of ensemble.json or, without this file, all trained configurations that segment.

    Raises :class:`WeightsError` if there is none.
    """
    if workspace.ensemble_file.exists():
        return read_ensemble(workspace, plan)
    trained = tuple(name for name in plan.configurations if trained_folds(workspace, plan, name))
    alike = tuple(name for name in trained if segments(workspace, plan, name))
    if alike:
        return Ensemble(alike)
    if trained:
        raise WeightsError(
            f"{workspace.root / 'models'}: the networks of {', '.join(trained)} do not segment, expected at least one "
            "that does; train a configuration of another trainer"
        )
    raise WeightsError(f"{workspace.root / 'models'}: no fold is trained; run 'autoseg train-fold' first")


def selected(workspace: Workspace, plan: Plan, configurations: Sequence[str] | None = None) -> Ensemble:
    """Return the named configurations; by default the selected ones, or all trained ones if none are selected.

    The selected decoder, mirroring and post-processing apply only if the named configurations are the selected ones.
    """
    found = chosen(workspace, plan) if workspace.ensemble_file.exists() or not configurations else None
    if found and (not configurations or set(configurations) == set(found.configurations)):
        return found
    return Ensemble(tuple(configurations or ()))
