"""The command that shows the whole pipeline on data that it makes itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console, duration
from autoseg.cli.pipeline import train_all
from autoseg.cli.tables import print_summary

TRAINING_CASES, TEST_CASES = 20, 4
SECONDS_PER_FOLD = 60.0
"""What sizes are planned for, at the speed of no machine, so that every machine makes the same plan."""
STEPS_PER_FOLD = 100
"""So many, and not as many as the time allows, that a slow or busy machine takes longer and learns as much."""


def demo(
    folder: Annotated[Path, typer.Argument(help="Where data, workspace and predictions go.")] = Path("autoseg-demo"),
    iterations: Annotated[int, typer.Option(min=1, help="Steps of each fold.")] = STEPS_PER_FOLD,
) -> int:
    """Make 3D phantoms and run everything on them: plan, preprocess, train ten folds, choose, predict, evaluate."""
    from autoseg.api import plan_and_preprocess
    from autoseg.evaluation.folder import evaluate_folder
    from autoseg.inference.folder import predict_folder
    from autoseg.phantoms import write_phantoms
    from autoseg.planners.speed import REFERENCE
    from autoseg.report.page import write_report

    started = time.monotonic()
    data, work, output = folder / "phantoms", folder / "phantoms.autoseg", folder / "predictions"
    _say(f"1/6 making {TRAINING_CASES + TEST_CASES} phantoms in {data}: two channels, a body and its core")
    if not (data / "dataset.json").exists():
        write_phantoms(data, training=TRAINING_CASES, testing=TEST_CASES)
    _say("2/6 planning and preprocessing; the plan assumes a fixed speed, so that it is the same on every machine")
    with case_progress() as progress:
        plan_and_preprocess(data, workspace=work, time_budget=SECONDS_PER_FOLD, speed=REFERENCE, progress=progress)
    _say(f"3/6 training 5 folds in 2D and 5 in 3D, {iterations} steps each; each is measured on cases it has not seen")
    status = train_all(work, iterations=iterations)
    if status:
        return status
    _say(f"4/6 predicting {TEST_CASES} test images, which no fold has seen, with what was chosen")
    with case_progress() as progress:
        predict_folder(work, data / "imagesTs", output, progress=progress)
        _say("5/6 evaluating the predictions against the true label maps")
        summary = evaluate_folder(output, data / "labelsTs", dataset=data / "dataset.json")
    summary.write_json(output / "summary.json")
    print_summary(summary)
    _say("6/6 drawing the predictions and writing the report")
    pictures = draw_cases(data, work, output)
    _say(f"pictures of the predictions: {', '.join(map(str, pictures))}")
    report = write_report(work)
    _say(f"done in {duration(time.monotonic() - started)}; the report: {report.resolve().as_uri()}")
    return 0


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def draw_cases(data: Path, work: Path, output: Path) -> list[Path]:
    """Draw each prediction over its image, with the reference, and name its classes as the workspace does."""
    from autoseg.images import read_labels, read_volume
    from autoseg.inference.sources import find_cases
    from autoseg.report.overlay import write_overlay
    from autoseg.workspace import Workspace

    classes, drawn = Workspace(work).dataset().classes, []
    for case in find_cases(data / "imagesTs"):
        prediction = read_labels(output / f"{case.name}.nii.gz")[0]
        reference = read_labels(data / "labelsTs" / f"{case.name}.nii.gz")[0]
        path = output / f"{case.name}.png"
        write_overlay(path, read_volume(case.images), prediction, reference, title=case.name, classes=classes)
        drawn.append(path)
    return drawn
