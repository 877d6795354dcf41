"""Ensemble members: the trained folds of one or more configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError, WeightsError
from autoseg.files.weights import check_weights, load_weights
from autoseg.inference.ensemble import selected, trained_folds
from autoseg.inference.sliding_window import TilingSettings
from autoseg.networks.build import PatchError, build_network, described_network, network_margin, output_size
from autoseg.plan.schema import Configuration, Plan, mirror_axes
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.declared import check_plan
from autoseg.preprocessing.mirrored_labels import plan_mirrored_labels
from autoseg.workspace.paths import Workspace


@dataclass(frozen=True)
class Member:
    """One configuration with the networks of its trained folds."""

    name: str
    configuration: Configuration
    networks: tuple[nn.Module, ...]
    tiling: TilingSettings
    previous: Member | None = None
    """The previous stage; its label map is an additional input."""


def load_members(
    workspace: Workspace,
    *,
    device: torch.device,
    configurations: Sequence[str] | None = None,
    folds: Sequence[str] | None = None,
    mirror: bool = True,
    best: bool = False,
) -> list[Member]:
    """Load the named configurations; by default the selected ones, or all trained ones if none are selected.

    The previous stage of a member is loaded too, once for all members that need it. It always uses all its folds,
    independent of ``folds``, and the last weights, because these produced the label maps for the member's training.
    """
    plan, dataset = workspace.plan(), workspace.dataset()
    check_plan(plan, dataset, workspace.plan_file)
    ensemble = selected(workspace, plan, configurations)
    loading = _Loading(workspace, plan, dataset, device, mirror)
    return [loading.member(name, folds, best=best) for name in ensemble.configurations]


@dataclass(frozen=True)
class _Loading:
    """Arguments for loading ensemble members, and the members loaded so far."""

    workspace: Workspace
    plan: Plan
    dataset: Dataset
    device: torch.device
    mirror: bool
    loaded: dict[tuple[Path, ...], Member] = field(default_factory=dict)
    """Loaded members by the files of their weights."""

    def member(self, name: str, folds: Sequence[str] | None, *, best: bool) -> Member:
        """Load a configuration's networks and its previous stage; load the same weights only once."""
        configuration = self.plan.configuration(name)
        wanted = list(folds) if folds else trained_folds(self.workspace, self.plan, name)
        if not wanted:
            place = self.workspace.models(name, self.plan)
            raise WeightsError(f"{place}: no fold is trained, expected at least one; train one first")
        stage = configuration.previous_stage
        previous = self.member(stage, self._all_folds(stage, name), best=False) if stage else None
        folders = [self.workspace.fold(name, fold, self.plan) for fold in wanted]
        files = tuple(folder.best if best else folder.model for folder in folders)
        if files not in self.loaded:
            networks = tuple(load_network(configuration, self.dataset, file, self.device) for file in files)
            settings = tiling_settings(
                self.plan, self.dataset, configuration, mirror=self.mirror, source=self.workspace.plan_file
            )
            self.loaded[files] = Member(name, configuration, networks, settings, previous)
        return self.loaded[files]

    def _all_folds(self, stage: str, reader: str) -> list[str]:
        """List all folds of a previous stage; raise :class:`WeightsError` if one is missing.

        With fewer folds, the label maps would be worse than those used for training.
        """
        trained = trained_folds(self.workspace, self.plan, stage)
        expected = len(self.workspace.splits()) if self.workspace.splits_file.exists() else 0
        missing = [str(fold) for fold in range(expected) if str(fold) not in trained]
        if missing or not trained:
            folds = f"found no trained fold {', '.join(missing)}" if missing else "found no trained fold"
            raise WeightsError(
                f"{self.workspace.models(stage, self.plan)}: {folds}, expected all folds, because "
                f"{reader} reads the label maps of {stage}; train them first"
            )
        return trained


def tiling_settings(
    plan: Plan, dataset: Dataset, configuration: Configuration, *, mirror: bool, source: Path
) -> TilingSettings:
    """Return the tiling settings of a configuration; ``source`` is the plan's file."""
    layout = channel_layout(configuration, dataset)
    return TilingSettings(
        patch=configuration.patch_size,
        margin=checked_margin(configuration, dataset, source),
        outputs=dataset.outputs,
        mirror_axes=mirror_axes(plan, configuration) if mirror else (),
        precision=configuration.precision,
        activation=dataset.activation,
        previous_labels=layout.previous_labels,
        mirrored_labels=plan_mirrored_labels(plan, configuration, dataset, source=source),
        fill_values=layout.fill_values,
    )


def checked_margin(configuration: Configuration, dataset: Dataset, source: Path) -> tuple[int, ...]:
    """Return the margin of a configuration's network; raise :class:`PlanError` if it covers the whole patch."""
    margin = network_margin(configuration, dataset)
    try:
        output_size(configuration.patch_size, margin)
    except PatchError as error:
        raise PlanError(f"{source}: field 'patch_size', {error}") from None
    return margin


def load_network(configuration: Configuration, dataset: Dataset, path: Path, device: torch.device) -> nn.Module:
    """Build a network, load the weights of ``path`` and set evaluation mode.

    Raises :class:`WeightsError` if the weights do not fit the network.
    """
    # Check without allocating storage first: an untrusted plan must not create a network larger than its weights.
    check_weights(described_network(configuration, dataset), path)
    network = build_network(configuration, dataset)
    load_weights(network, path)
    return network.to(device).eval()
