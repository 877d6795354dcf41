"""The command ``autoseg report``: writes the report of a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import console
from autoseg.cli.options import WorkspaceArgument


def report(
    workspace: WorkspaceArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: WORKSPACE/report.html.")
    ] = None,
) -> None:
    """Write a report as one HTML page: data, plan, learning curves, cross-validation, worst and best cases."""
    from autoseg.report.page import write_report

    console.print(f"written: {write_report(workspace, output)}", soft_wrap=True, markup=False)
