"""The command ``autoseg compare``: compares two evaluations of the same cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import console
from autoseg.evaluation.settings import CONFIDENCE, RESAMPLES, Bootstrap


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="First evaluation: an evaluated folder, or its summary.json.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Second evaluation of the same cases.")],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Metric of summary.json; may be given more than once. Default: dice."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", help="Also write the table to FILE.json or FILE.csv; may be given more than once."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write a scatter plot and a Bland-Altman plot of each metric to FILE.png, .pdf or .svg."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Confidence level of the interval of the mean difference.")
    ] = CONFIDENCE,
    resamples: Annotated[
        int, typer.Option(min=100, help="Number of bootstrap resamples for the interval.")
    ] = RESAMPLES,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
) -> None:
    """Compare B with A case by case: paired differences, confidence intervals, and tests with Holm correction."""
    from autoseg.cli.comparison_table import print_comparison
    from autoseg.evaluation.comparison import compare as compare_summaries
    from autoseg.evaluation.comparison import read_evaluation
    from autoseg.evaluation.comparison_files import check_table_name, write_comparison
    from autoseg.evaluation.comparison_plot import check_plot_name, write_comparison_plot

    for path in output or ():
        check_table_name(path)
    if plot:
        check_plot_name(plot)
    comparison = compare_summaries(
        read_evaluation(first),
        read_evaluation(second),
        metrics=tuple(dict.fromkeys(metric or ("dice",))),
        names=(str(first), str(second)),
        bootstrap=Bootstrap(confidence, resamples, seed),
    )
    print_comparison(comparison)
    for path in output or ():
        write_comparison(comparison, path)
    if plot:
        write_comparison_plot(comparison, plot)
    for path in (*(output or ()), *([plot] if plot else ())):
        console.print(f"written: {path}", soft_wrap=True, markup=False)
