"""What predicts: the trained folds of one or more configurations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from autoseg.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.inference.sliding_window import Window
from autoseg.networks.build import build_network
from autoseg.plan import Configuration, Plan, mirror_axes
from autoseg.preprocessing.normalization.declared import check_plan
from autoseg.records import read_record
from autoseg.weights import load_weights
from autoseg.workspace import Workspace


@dataclass(frozen=True)
class Member:
    """One configuration with the networks of its folds."""

    name: str
    configuration: Configuration
    networks: tuple[nn.Module, ...]
    window: Window


@dataclass(frozen=True)
class Ensemble:
    """Which configurations predict, as chosen by cross-validation."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    configurations: tuple[str, ...]
    trainer: str = "supervised"
    dice: float | None = None
    """Mean foreground Dice in cross-validation."""


def trained_folds(workspace: Workspace, configuration: str, trainer: str = "supervised") -> list[str]:
    """List the folds of a configuration that are trained to their end."""
    folder = workspace.fold(configuration, 0, trainer).root.parent
    found = [path.parent.name.removeprefix("fold_") for path in folder.glob("fold_*/model.safetensors")]
    return sorted(fold for fold in found if re.fullmatch(r"\d+|all", fold))


def chosen(workspace: Workspace, plan: Plan) -> Ensemble:
    """Return what cross-validation chose, or else every configuration that is trained."""
    if workspace.ensemble_file.exists():
        ensemble = read_record(Ensemble, workspace.ensemble_file, error=WeightsError)
        if not ensemble.configurations:
            raise WeightsError(
                f"{workspace.ensemble_file}: field 'configurations', found none, expected at least one; remove the file"
            )
        return ensemble
    trained = tuple(name for name in plan.configurations if trained_folds(workspace, name))
    if not trained:
        raise WeightsError(f"{workspace.root / 'models'}: no fold is trained; run 'autoseg train-fold' first")
    return Ensemble(trained)


def load_members(
    workspace: Workspace,
    *,
    device: torch.device,
    configurations: Sequence[str] | None = None,
    folds: Sequence[str] | None = None,
    trainer: str | None = None,
    mirror: bool = True,
    best: bool = False,
) -> list[Member]:
    """Load the networks that predict: those named, or else those chosen, or else all that are trained."""
    plan, dataset = workspace.plan(), workspace.dataset()
    check_plan(plan, dataset, workspace.plan_file)
    ensemble = Ensemble(tuple(configurations), trainer or "supervised") if configurations else chosen(workspace, plan)
    return [
        _load_member(
            workspace,
            plan,
            dataset,
            name=name,
            folds=folds,
            trainer=trainer or ensemble.trainer,
            device=device,
            mirror=mirror,
            best=best,
        )
        for name in ensemble.configurations
    ]


def _load_member(
    workspace: Workspace,
    plan: Plan,
    dataset: Dataset,
    *,
    name: str,
    folds: Sequence[str] | None,
    trainer: str,
    device: torch.device,
    mirror: bool,
    best: bool,
) -> Member:
    configuration = plan.configuration(name)
    wanted = list(folds) if folds else trained_folds(workspace, name, trainer)
    if not wanted:
        raise WeightsError(f"{workspace.root / 'models' / name / trainer}: no fold is trained; train one first")
    files = [workspace.fold(name, fold, trainer) for fold in wanted]
    loaded = tuple(_load(configuration, dataset, file.best if best else file.model, device) for file in files)
    window = Window(
        patch=configuration.patch_size,
        outputs=dataset.outputs,
        mirror_axes=mirror_axes(plan, configuration) if mirror else (),
        precision=configuration.precision,
    )
    return Member(name, configuration, loaded, window)


def _load(configuration: Configuration, dataset: Dataset, path: Path, device: torch.device) -> nn.Module:
    """Build a network with the weights of ``path``, ready to predict."""
    network = build_network(configuration, dataset)
    load_weights(network, path)
    return network.to(device).eval()
