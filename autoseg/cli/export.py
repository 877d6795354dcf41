"""The command ``autoseg export``: writes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import console
from autoseg.cli.options import WorkspaceArgument


def export(
    workspace: WorkspaceArgument,
    bundle: Annotated[Path, typer.Argument(help="File to write; its name ends in .zip.")],
    license_text: Annotated[
        str | None, typer.Option("--license", help="Licence for the model card, such as CC-BY-4.0.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Export the chosen models to one zip. predict-folder accepts it instead of the workspace."""
    from autoseg.bundle.writing import export_bundle

    done = export_bundle(workspace, bundle, license_text=license_text, overwrite=overwrite)
    console.print(
        ", ".join(f"{name} ({count} {'fold' if count == 1 else 'folds'})" for name, count in done.folds.items()),
        soft_wrap=True,
        markup=False,
    )
    if license_text is None:
        console.print("the model card states no licence; add one with --license")
    console.print(f"next: autoseg predict-folder {bundle} IMAGES OUTPUT", soft_wrap=True, markup=False)
