"""The program ``autoseg`` and its commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from autoseg.cli import (
    check,
    choose,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    networks,
    plan_and_preprocess,
    predict_folder,
    report,
    run,
    train_fold,
)
from autoseg.cli.guard import DEBUG, guarded

app = typer.Typer(
    help="Self-configuring segmentation of medical images: plan-and-preprocess, train-fold, predict-folder.",
    epilog="Add --debug to any command to show the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan-and-preprocess")(guarded(plan_and_preprocess.plan_and_preprocess))
app.command("train-fold")(guarded(train_fold.train_fold))
app.command("predict-folder")(guarded(predict_folder.predict_folder))
app.command("run")(guarded(run.run))
app.command("check")(guarded(check.check))
app.command("fingerprint")(guarded(plan_and_preprocess.fingerprint))
app.command("plan")(guarded(plan_and_preprocess.plan))
app.command("preprocess")(guarded(plan_and_preprocess.preprocess))
app.command("evaluate")(guarded(evaluate.evaluate))
app.command("choose")(guarded(choose.choose))
app.command("compare")(guarded(compare.compare))
app.command("report")(guarded(report.report))
app.command("export")(guarded(export.export))
app.command("networks")(guarded(networks.networks))
app.command("demo")(guarded(demo.demo))
app.command("doctor")(guarded(doctor.doctor))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a status: 0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words = [word for word in words if word != "--debug"]
        os.environ[DEBUG] = "1"
    app(words, prog_name="autoseg")
