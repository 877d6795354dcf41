"""The command ``autoseg demo``: runs the whole pipeline on synthetic data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console, duration
from autoseg.cli.run import train_all
from autoseg.cli.tables import print_summary

TRAINING_CASES, TEST_CASES = 20, 4
SECONDS_PER_FOLD = 60.0
"""Time budget of the plan. A fixed reference speed is assumed, so that every machine makes the same plan."""
STEPS_PER_FOLD = 100
"""A fixed number of steps, so that training gives the same quality on slow and fast machines."""


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the data, the workspace and the predictions.")] = Path(
        "autoseg-demo"
    ),
    iterations: Annotated[int, typer.Option(min=1, help="Training steps of each fold.")] = STEPS_PER_FOLD,
) -> int:
    """Make 3D phantoms and run the pipeline on them: plan, preprocess, train ten folds, choose, predict, evaluate."""
    from autoseg.api import plan_and_preprocess
    from autoseg.demo.phantoms import write_phantoms
    from autoseg.evaluation.folder import evaluate_folder
    from autoseg.inference.folder import predict_folder
    from autoseg.planners.speed import REFERENCE
    from autoseg.report.page import write_report

    started = time.monotonic()
    data, work, output = folder / "phantoms", folder / "phantoms.autoseg", folder / "predictions"
    _say(f"1/6 making {TRAINING_CASES + TEST_CASES} phantoms in {data}: two channels, two classes (body and core)")
    if not (data / "dataset.json").exists():
        write_phantoms(data, training=TRAINING_CASES, testing=TEST_CASES)
    _say("2/6 planning and preprocessing; a fixed speed is assumed, so that every machine makes the same plan")
    with case_progress() as progress:
        plan_and_preprocess(data, workspace=work, time_budget=SECONDS_PER_FOLD, speed=REFERENCE, progress=progress)
    _say(f"3/6 training 5 folds in 2D and 5 in 3D, {iterations} steps each, validated on the held-out cases")
    status = train_all(work, iterations=iterations)
    if status:
        return status
    _say(f"4/6 predicting {TEST_CASES} test images (not used in training) with the chosen configurations")
    with case_progress() as progress:
        predict_folder(work, data / "imagesTs", output, progress=progress)
        _say("5/6 comparing the predictions with the reference label maps")
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
    """Draw each prediction and its reference over the image, with the workspace's class names; return the files."""
    from autoseg.images.volumes import read_labels, read_volume
    from autoseg.inference.sources import find_cases
    from autoseg.previews.overlay import write_overlay
    from autoseg.workspace.paths import Workspace

    classes, drawn = Workspace(work).dataset().classes, []
    for case in find_cases(data / "imagesTs"):
        prediction = read_labels(output / f"{case.name}.nii.gz")[0]
        reference = read_labels(data / "labelsTs" / f"{case.name}.nii.gz")[0]
        path = output / f"{case.name}.png"
        write_overlay(path, read_volume(case.images), prediction, reference, title=case.name, classes=classes)
        drawn.append(path)
    return drawn
