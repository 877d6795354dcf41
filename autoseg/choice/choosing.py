"""Choosing what predicts: configurations, mirroring, decoder and post-processing, in this order."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from autoseg.choice.calibration import measure_calibration
from autoseg.choice.comparing import compare
from autoseg.choice.dice import difference, mean_dice
from autoseg.choice.held_out import HeldOut, Progress, complete_scores, find_held_out
from autoseg.choice.improving import find_postprocessing
from autoseg.choice.mirroring import is_measured, measure_mirroring, mirrors
from autoseg.choice.record import (
    CrossValidation,
    DecoderResult,
    MirroringResult,
    defined,
    write_cross_validation,
)
from autoseg.choice.trial import Recipe, dice_of
from autoseg.errors import PlanError
from autoseg.inference.members import Ensemble, write_ensemble
from autoseg.plan import Component
from autoseg.postprocessing.record import write_postprocessing
from autoseg.workspace import Workspace

logger = logging.getLogger("autoseg")

DICE_OPTIMAL: Component = {"name": "dice_optimal"}


def choose(
    workspace: Workspace | Path | str,
    trainer: str = "supervised",
    *,
    device: str = "auto",
    tta: bool = False,
    admission: float | None = None,
    predict: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Choose what predicts by mean foreground Dice on the cases that the folds held out, and how.

    Tried are, one after the other, each on top of what was chosen before: single configurations, their pairs and all
    of them, or, where the plan is that of an ensemble or ``admission`` is given, the mean of all configurations whose
    Dice is at most as much below that of the best (:mod:`autoseg.choice.admission`); mirroring, if ``tta`` or where
    predictions without it are there; the decoder; post-processing. Writes ensemble.json and postprocessing.json, which
    prediction follows, and cross_validation.json, which tells why. Probabilities of held-out cases that training did
    not leave are predicted, unless ``predict`` is false: then that is a :class:`WeightsError`, as it is where no fold
    is trained.
    """
    from autoseg.planners.resources import choose_device

    place = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    if admission is not None and not 0 <= admission <= 1:
        raise PlanError(f"admission: found {admission:g}, expected a difference of Dice from 0 to 1")
    on = torch.device(choose_device(device)) if predict else None
    held_out = find_held_out(place, trainer)
    within = held_out.plan.admission if admission is None else admission
    complete_scores(held_out, device=on, progress=progress)
    compared = compare(held_out, within, workers=workers, progress=progress)
    names, table = compared.chosen, compared.table
    mirroring: MirroringResult | None = None
    if _wants_mirroring(held_out, names, tta=tta):
        mirroring, table = measure_mirroring(held_out, names, device=on, workers=workers, progress=progress)
    recipe = Recipe(names, mirroring is None or mirroring.kept)
    optimal = replace(recipe, decoder=DICE_OPTIMAL)
    (decoded,) = dice_of(held_out, [optimal], what="trying another decoder", workers=workers, progress=progress)
    gain = difference(decoded, table)
    if gain.shown:
        recipe, table = optimal, decoded
    postprocessing, table = find_postprocessing(held_out, recipe, table, workers=workers, progress=progress)
    calibration, quality = measure_calibration(
        held_out, replace(recipe, steps=postprocessing.steps), workers=workers, progress=progress
    )
    found = CrossValidation(
        trainer=trainer,
        folds=held_out.folds,
        cases=len(held_out.cases),
        results=compared.results,
        chosen=names,
        mirroring=mirroring,
        decoder=DecoderResult(DICE_OPTIMAL, gain, kept=gain.shown),
        postprocessing=postprocessing,
        dice=defined(mean_dice(table)),
        calibration=calibration,
        quality=quality,
        admission=compared.admission,
    )
    _write(place, found, recipe)
    return found


def _wants_mirroring(held_out: HeldOut, names: tuple[str, ...], *, tta: bool) -> bool:
    """Tell whether to measure mirroring: where that is asked for, or costs nothing as its predictions are there."""
    if not mirrors(held_out, names):
        if tta:
            logger.warning("%s: the plan mirrors along no axis; there is nothing to measure", " and ".join(names))
        return False
    return tta or is_measured(held_out, names)


def _write(place: Workspace, found: CrossValidation, recipe: Recipe) -> None:
    """Write the files, that which the others are held against last."""
    write_cross_validation(place.cross_validation_file, found)
    write_postprocessing(place.postprocessing_file, found.postprocessing)
    mirror = None if found.mirroring is None else found.mirroring.kept
    overconfidence = found.quality.overconfidence if found.quality else None
    ensemble = Ensemble(recipe.configurations, found.trainer, found.dice, recipe.decoder, mirror, overconfidence or 0.0)
    if found.admission:
        ensemble = replace(ensemble, admission=found.admission.within, left_out=found.admission.left_out)
    write_ensemble(place, ensemble)
