"""Make docs/overview.png from what ``make demo`` leaves: a prediction over its image, and curves of the report.

.venv/bin/python docs/overview.py autoseg-demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

from autoseg.report.curves import draw_fold_curves
from autoseg.report.trained import find_runs
from autoseg.workspace.paths import Workspace

SIZE = (9.6, 7.0)
"""Inches."""
DOTS_PER_INCH = 80


def draw_overview(demo: Path, target: Path) -> None:
    """Draw the first picture of a prediction, and below it the learning curves of the last configuration."""
    workspace = Workspace(demo / "phantoms.autoseg")
    run = find_runs(workspace, workspace.plan())[-1]
    figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.35, 1))
    picture = upper.subplots()
    picture.imshow(imread(min((demo / "predictions").glob("*.png"))))
    picture.set_axis_off()
    loss, dice = lower.subplots(1, 2)
    draw_fold_curves(loss, dice, run.folds)
    lower.suptitle(f"from report.html: the folds of {run.configuration}", fontsize=9)
    figure.savefig(target, dpi=DOTS_PER_INCH)


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder that 'make demo' made")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("overview.png"))
    options = parser.parse_args()
    draw_overview(options.demo, options.output)


if __name__ == "__main__":
    main()
