"""What predicts: the trained folds of one or more configurations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from autoseg.dataset import Dataset
from autoseg.errors import PlanError, WeightsError
from autoseg.inference.decoding import decoders
from autoseg.inference.sliding_window import Window
from autoseg.networks.build import PatchError, build_network, described_network, network_margin, output_size
from autoseg.plan import Component, Configuration, Plan, mirror_axes
from autoseg.preprocessing.normalization import channel_places
from autoseg.preprocessing.normalization.declared import check_plan
from autoseg.records import read_record, to_plain
from autoseg.storage import write_json
from autoseg.swapping import plan_swapping
from autoseg.weights import check_weights, load_weights, named_network
from autoseg.workspace import Workspace


@dataclass(frozen=True)
class Member:
    """One configuration with the networks of its folds."""

    name: str
    configuration: Configuration
    networks: tuple[nn.Module, ...]
    window: Window
    previous: Member | None = None
    """The stage whose label map it reads beside the image."""


@dataclass(frozen=True)
class Ensemble:
    """Which configurations predict, as chosen by cross-validation."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    configurations: tuple[str, ...]
    trainer: str = "supervised"
    dice: float | None = None
    """Mean foreground Dice in cross-validation."""
    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    """What makes labels of mean probabilities."""
    mirror: bool | None = None
    """Whether averaging over mirrored copies was found worth its time; None where that was not measured."""
    overconfidence: float = 0.0
    """By how much Dice was lower on the held-out cases than was to be expected from the probabilities, on average."""
    admission: float | None = None
    """Dice by which those that have a say may be behind the best one; None where these were just best together."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Configurations that have no say, and why."""


def write_ensemble(workspace: Workspace, ensemble: Ensemble) -> None:
    """Write ensemble.json."""
    write_json(workspace.ensemble_file, to_plain(ensemble))


def read_ensemble(workspace: Workspace, plan: Plan) -> Ensemble:
    """Read ensemble.json; raise :class:`WeightsError` that names the first field that cannot be used."""
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
            "mend or remove the file"
        )
    try:
        decoders.build(ensemble.decoder)
    except PlanError as error:
        raise WeightsError(f"{path}: field 'decoder': {error}; mend or remove the file") from None
    return ensemble


def trained_folds(workspace: Workspace, configuration: str, trainer: str = "supervised") -> list[str]:
    """List the folds of a configuration that are trained to their end."""
    folder = workspace.fold(configuration, 0, trainer).root.parent
    found = [path.parent.name.removeprefix("fold_") for path in folder.glob("fold_*/model.safetensors")]
    return sorted(fold for fold in found if re.fullmatch(r"\d+|all", fold))


def chosen(workspace: Workspace, plan: Plan, trainer: str | None = None) -> Ensemble:
    """Return what cross-validation chose, or else every configuration that is trained, by ``trainer`` if it is named.

    Where it is not, that is the supervised one, or the first of the others that has trained anything.
    """
    if workspace.ensemble_file.exists():
        return read_ensemble(workspace, plan)
    others = {path.name for name in plan.configurations for path in (workspace.root / "models" / name).glob("*")}
    for each in [trainer] if trainer else ["supervised", *sorted(others - {"supervised"})]:
        trained = tuple(name for name in plan.configurations if trained_folds(workspace, name, each))
        if trained:
            return Ensemble(trained, each)
    by = f" by trainer '{trainer}'" if trainer else ""
    raise WeightsError(f"{workspace.root / 'models'}: no fold is trained{by}; run 'autoseg train-fold' first")


def selected(
    workspace: Workspace, plan: Plan, configurations: Sequence[str] | None = None, trainer: str | None = None
) -> Ensemble:
    """Return the configurations named, or else those chosen, or else all that are trained.

    What cross-validation found about the decoder and mirroring goes with the configurations that it was found for.
    """
    found = chosen(workspace, plan, trainer) if workspace.ensemble_file.exists() or not configurations else None
    names = tuple(configurations) if configurations else None
    if found and (names is None or set(names) == set(found.configurations)) and trainer in (None, found.trainer):
        return found
    default = found.trainer if found and names is None else "supervised"
    return Ensemble(names or (found.configurations if found else ()), trainer or default)


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
    """Load the networks that predict: those named, or else those chosen, or else all that are trained.

    A previous stage that a member reads is loaded with it, once for all that read it: with all its folds, whichever
    ``folds`` are named, and with their last weights, which made the label maps that the member learnt from.
    """
    plan, dataset = workspace.plan(), workspace.dataset()
    check_plan(plan, dataset, workspace.plan_file)
    ensemble = selected(workspace, plan, configurations, trainer)
    loading = _Loading(workspace, plan, dataset, ensemble.trainer, device, mirror)
    return [loading.member(name, folds, best=best) for name in ensemble.configurations]


@dataclass(frozen=True)
class _Loading:
    """What the members of an ensemble are loaded with, and those that are loaded already."""

    workspace: Workspace
    plan: Plan
    dataset: Dataset
    trainer: str
    device: torch.device
    mirror: bool
    loaded: dict[tuple[Path, ...], Member] = field(default_factory=dict)
    """By their weights."""

    def member(self, name: str, folds: Sequence[str] | None, *, best: bool) -> Member:
        """Load a configuration's networks, and the stage before it; the same weights are loaded once."""
        configuration = self.plan.configuration(name)
        wanted = list(folds) if folds else trained_folds(self.workspace, name, self.trainer)
        if not wanted:
            place = self.workspace.root / "models" / name / self.trainer
            raise WeightsError(f"{place}: no fold is trained; train one first")
        stage = configuration.previous_stage
        previous = self.member(stage, self._all_folds(stage, name), best=False) if stage else None
        folders = [self.workspace.fold(name, fold, self.trainer) for fold in wanted]
        files = tuple(folder.best if best else folder.model for folder in folders)
        if files not in self.loaded:
            networks = tuple(load_network(configuration, self.dataset, file, self.device) for file in files)
            window = window_of(
                self.plan, self.dataset, configuration, mirror=self.mirror, source=self.workspace.plan_file
            )
            self.loaded[files] = Member(name, configuration, networks, window, previous)
        return self.loaded[files]

    def _all_folds(self, stage: str, reader: str) -> list[str]:
        """List the folds of a previous stage, of which none may be missing, lest it be weaker than in training."""
        trained = trained_folds(self.workspace, stage, self.trainer)
        expected = len(self.workspace.splits()) if self.workspace.splits_file.exists() else 0
        missing = [str(fold) for fold in range(expected) if str(fold) not in trained]
        if missing or not trained:
            folds = f"found no trained fold {', '.join(missing)}" if missing else "found no trained fold"
            raise WeightsError(
                f"{self.workspace.root / 'models' / stage / self.trainer}: {folds}, expected all of them, because "
                f"{reader} reads the label maps of {stage}; train them first"
            )
        return trained


def window_of(plan: Plan, dataset: Dataset, configuration: Configuration, *, mirror: bool, source: Path) -> Window:
    """Return how a configuration takes images apart; ``source`` is the plan's file."""
    return Window(
        patch=configuration.patch_size,
        margin=checked_margin(configuration, dataset, source),
        outputs=dataset.outputs,
        mirror_axes=mirror_axes(plan, configuration) if mirror else (),
        precision=configuration.precision,
        activation=dataset.activation,
        previous_labels=len(dataset.values) if configuration.previous_stage else 0,
        swapping=plan_swapping(plan, configuration, dataset, source=source),
        fills=tuple(
            (channel, dataset.fills[number])
            for number, place in enumerate(channel_places(configuration.normalization))
            for channel in range(place.start, place.stop)
            if number in dataset.fills
        ),
    )


def checked_margin(configuration: Configuration, dataset: Dataset, source: Path) -> tuple[int, ...]:
    """Return the margin of a configuration's network, which must leave something of its patch."""
    margin = network_margin(configuration, dataset)
    try:
        output_size(configuration.patch_size, margin)
    except PatchError as error:
        raise PlanError(f"{source}: field 'patch_size', {error}") from None
    return margin


def load_network(configuration: Configuration, dataset: Dataset, path: Path, device: torch.device) -> nn.Module:
    """Build a network with the weights of ``path``, ready to predict: the plan's, or the one that the weights name."""
    named = named_network(path)
    if named is not None:
        # Its trainer gave it what is preprocessed, without an input layer of the plan's network.
        configuration = replace(configuration, network=named, input_layer=None)
    try:
        # First without storage: a file from anywhere makes no network that is larger than its weights.
        check_weights(described_network(configuration, dataset), path)
        network = build_network(configuration, dataset)
    except (PlanError, ValueError, TypeError, RuntimeError) as error:
        if named is None:
            raise
        raise WeightsError(f"{path}: metadata 'network': {str(error).splitlines()[0]}") from None
    load_weights(network, path)
    return network.to(device).eval()
