"""Select what predicts: configurations, mirroring, decoder and post-processing, in this order."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from autoseg.choice.calibration import measure_calibration
from autoseg.choice.candidates import try_decoders
from autoseg.choice.comparing import compare
from autoseg.choice.dice import mean_dice
from autoseg.choice.held_out import HeldOut, Progress, complete_scores, find_held_out
from autoseg.choice.improving import find_postprocessing
from autoseg.choice.mirroring import is_measured, measure_mirroring, mirrors
from autoseg.choice.record import (
    CrossValidation,
    MirroringResult,
    defined,
    write_cross_validation,
)
from autoseg.choice.trial import Recipe
from autoseg.errors import PlanError
from autoseg.inference.ensemble import Ensemble, write_ensemble
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import Workspace

logger = logging.getLogger("autoseg")


def choose(
    workspace: Workspace | Path | str,
    *,
    device: str = "auto",
    tta: bool = False,
    dice_margin: float | None = None,
    predict: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Select the ensemble and its settings by the mean foreground Dice on the held-out cases of the folds.

    The steps follow each other, and each uses the result of the previous one:

    1. Configurations: the best of all single configurations, pairs, and all together. If the plan or the argument
       gives a ``dice_margin``, the mean of all configurations whose Dice is at most this margin below the best
       (:mod:`autoseg.choice.dice_margin`).
    2. Mirroring, with ``tta`` or if predictions without mirroring exist.
    3. The decoder.
    4. Post-processing.

    Writes ensemble.json, which prediction uses, and cross_validation.json, which contains the reasons. Missing
    probabilities of held-out cases are predicted; with ``predict`` false, they raise :class:`WeightsError`. It is also
    raised if no fold is trained. Raises :class:`PlanError` for a ``dice_margin`` outside 0 to 1.
    """
    from autoseg.system.devices import choose_device

    executor = None if workers is None else local_executor(workers)
    place = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    if dice_margin is not None and not 0 <= dice_margin <= 1:
        raise PlanError(f"dice_margin: found {dice_margin:g}, expected a difference of Dice from 0 to 1")
    on = torch.device(choose_device(device)) if predict else None
    held_out = find_held_out(place)
    within = held_out.plan.dice_margin if dice_margin is None else dice_margin
    complete_scores(held_out, device=on, progress=progress)
    compared = compare(held_out, within, executor=executor, progress=progress)
    names, table = compared.chosen, compared.table
    mirroring: MirroringResult | None = None
    if _wants_mirroring(held_out, names, tta=tta):
        mirroring, table = measure_mirroring(held_out, names, device=on, executor=executor, progress=progress)
    recipe = Recipe(names, mirroring is None or mirroring.kept)
    decoder, recipe, table = try_decoders(held_out, recipe, table, executor=executor, progress=progress)
    postprocessing, table = find_postprocessing(held_out, recipe, table, executor=executor, progress=progress)
    calibration, quality = measure_calibration(
        held_out, replace(recipe, steps=postprocessing.steps), executor=executor, progress=progress
    )
    found = CrossValidation(
        folds=held_out.folds,
        cases=len(held_out.cases),
        results=compared.results,
        chosen=names,
        mirroring=mirroring,
        decoder=decoder,
        postprocessing=postprocessing,
        dice=defined(mean_dice(table)),
        calibration=calibration,
        quality=quality,
        dice_margin=compared.dice_margin,
    )
    _write(place, found, recipe)
    return found


def _wants_mirroring(held_out: HeldOut, names: tuple[str, ...], *, tta: bool) -> bool:
    """Return whether to measure mirroring: with ``tta``, or if predictions without mirroring exist already."""
    if not mirrors(held_out, names):
        if tta:
            logger.warning("%s: the plan mirrors along no axis; --tta has no effect", " and ".join(names))
        return False
    return tta or is_measured(held_out, names)


def _write(place: Workspace, found: CrossValidation, recipe: Recipe) -> None:
    """Write cross_validation.json, then ensemble.json, which prediction uses."""
    write_cross_validation(place.cross_validation_file, found)
    mirror = None if found.mirroring is None else found.mirroring.kept
    overconfidence = found.quality.overconfidence if found.quality else None
    ensemble = Ensemble(
        recipe.configurations,
        found.dice,
        recipe.decoder,
        found.postprocessing,
        mirror,
        overconfidence or 0.0,
    )
    if found.dice_margin:
        ensemble = replace(ensemble, dice_margin=found.dice_margin.within, left_out=found.dice_margin.left_out)
    write_ensemble(place, ensemble)
