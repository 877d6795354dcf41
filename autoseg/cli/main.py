"""The command ``autoseg``: its commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from autoseg.cli import (
    bundling,
    choosing,
    comparison,
    demonstration,
    diagnosis,
    evaluation,
    pipeline,
    planning,
    prediction,
    reporting,
    training,
)
from autoseg.cli.guard import DEBUG, guarded

app = typer.Typer(
    help="Self-configuring segmentation of medical images: plan-and-preprocess, train-fold, predict-folder.",
    epilog="Add --debug to any command for the whole traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan-and-preprocess")(guarded(planning.plan_and_preprocess))
app.command("train-fold")(guarded(training.train_fold))
app.command("predict-folder")(guarded(prediction.predict_folder))
app.command("run")(guarded(pipeline.run))
app.command("check")(guarded(planning.check))
app.command("fingerprint")(guarded(planning.fingerprint))
app.command("plan")(guarded(planning.plan))
app.command("preprocess")(guarded(planning.preprocess))
app.command("evaluate")(guarded(evaluation.evaluate))
app.command("choose")(guarded(choosing.choose))
app.command("compare")(guarded(comparison.compare))
app.command("report")(guarded(reporting.report))
app.command("export")(guarded(bundling.export))
app.command("demo")(guarded(demonstration.demo))
app.command("doctor")(guarded(diagnosis.doctor))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use or bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words = [word for word in words if word != "--debug"]
        os.environ[DEBUG] = "1"
    app(words, prog_name="autoseg")
