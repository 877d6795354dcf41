"""Training one fold: from a workspace to weights and validation metrics."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace

from autoseg.evaluation.summary import Summary, summarize
from autoseg.inference.members import load_network
from autoseg.learning.checkpoint import load_state
from autoseg.learning.monitor import Listener
from autoseg.learning.samples import fold_data
from autoseg.learning.setting import FoldRequest, Setting, read_setting
from autoseg.learning.trainer import task_of
from autoseg.learning.training import train
from autoseg.learning.validation.cases import FoldValidation, validate_cases
from autoseg.learning.validation.clock import ValidationClock
from autoseg.learning.validation.previews import write_previews
from autoseg.preprocessing.previous_stage import prepare_previous_stage
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import FoldFolder, read_metrics

logger = logging.getLogger("autoseg.training")


def train_fold(request: FoldRequest, *, listener: Listener | None = None) -> Summary:
    """Train a fold, or resume it, validate it, and return the metrics of its validation cases.

    With a time budget, validation ends when the budget is over; another call validates the remaining cases.
    Raises :class:`autoseg.learning.loop.Interrupted` after saving the state if a signal requests a stop.
    """
    started = time.monotonic()
    setting = read_setting(request)
    folder = setting.folder
    if request.restart and folder.root.exists():
        _clear(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    if setting.previous:
        prepare_previous_stage(setting.previous, setting.dataset, executor=local_executor(request.workers))
    validation = _validation(setting)
    clock = None
    if folder.model.exists():
        logger.info("already trained; --seed and --iterations have no effect (use --restart)")
    else:
        # Delete the predictions of the previous model.
        if folder.validation.exists():
            shutil.rmtree(folder.validation)
        clock = _validation_clock(setting, started=started)
        budget = train(setting, validation, started=started, listener=listener)
        if clock and budget.time:
            budget.time.inform(clock)
    summary = _validated(setting, validation, clock)
    summary.write_json(folder.summary)
    summary.write_csv(folder.validation / "summary.csv")
    write_previews(summary, setting.dataset, folder)
    return summary


def _validation(setting: Setting) -> FoldValidation:
    """Return the inputs of the validation on whole cases; no cases if the network does not segment."""
    return FoldValidation(
        setting.dataset,
        fold_data(setting, setting.labelled(setting.split.val) if setting.segments else ()),
        setting.folder,
        setting.tiling,
        setting.device,
        # Fold "all" validates on its training cases; their probabilities are useless for choosing an ensemble.
        setting.request.save_probabilities and setting.request.fold != "all",
    )


def _validated(setting: Setting, validation: FoldValidation, clock: ValidationClock | None) -> Summary:
    """Predict and measure the validation cases; add the metrics of the trainer after the last step."""
    folder = setting.folder
    if setting.segments:
        network = load_network(setting.configuration, setting.dataset, folder.model, setting.device)
        logger.info("validating %d cases", len(validation.cases))
        summary = validate_cases(network, validation, clock=clock)
    else:
        summary = replace(summarize({}), task=task_of(setting.trainer))
    if summary.not_validated:
        _say_not_validated(summary, setting, cases=len(validation.cases))
    records = read_metrics(folder.metrics)
    return replace(summary, metrics=records[-1].get("metrics", {}) if records else {})


def _validation_clock(setting: Setting, *, started: float) -> ValidationClock | None:
    """Return the clock that ends validation with the time budget, less the time of earlier runs; None without one."""
    limit = setting.time_limit
    if limit is None:
        return None
    found = load_state(setting.folder.resume_state)
    earlier = found[1]["progress"].get("seconds", 0.0) if found else 0.0
    return ValidationClock(limit, started + limit - earlier)


def _say_not_validated(summary: Summary, setting: Setting, *, cases: int) -> None:
    request = setting.request
    logger.warning(
        "validated %d of %d cases, because the time budget is over; to validate the rest, run: "
        "autoseg train-fold %s %s %s",
        cases - len(summary.not_validated),
        cases,
        request.workspace.root,
        request.configuration,
        request.fold,
    )


def _clear(folder: FoldFolder) -> None:
    """Remove all files of a fold from earlier runs, except the log, which the current run already writes."""
    for path in folder.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != folder.log:
            path.unlink()
