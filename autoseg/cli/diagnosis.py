"""The command that tells what this machine can do."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from autoseg.cli.display import console

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-image",
    "SimpleITK",
    "batchgenerators",
    "blosc2",
    "safetensors",
    "pydantic",
)


def doctor(
    renew_speed: Annotated[bool, typer.Option("--renew-speed", help="Measure the machine's speed again.")] = False,
    write_speed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the speed to a file, for plans made elsewhere.")
    ] = None,
) -> int:
    """Tell what this machine has: device, memory, precision, speed, versions."""
    import platform
    import shutil
    import sys

    from autoseg.execution import default_workers
    from autoseg.memory import available_memory, format_bytes
    from autoseg.planners.resources import choose_device, computes_bfloat16, devices, free_memory

    table = Table("", "", show_header=False, title="this machine")
    chosen = choose_device()
    table.add_row("autoseg", f"{_version('autoseg')}, Python {sys.version.split()[0]}, {platform.system()}")
    for device in devices():
        native = "native" if computes_bfloat16(device) else "emulated: float32 is planned"
        mark = " (chosen by default)" if device.split(":")[0] == chosen else ""
        table.add_row(
            device + mark, f"{_device_name(device)}, bfloat16 {native}, plans for {format_bytes(free_memory(device))}"
        )
    _add_speed(table, chosen, renew_speed, write_speed)
    table.add_row("memory", f"{format_bytes(available_memory())} free")
    table.add_row("worker processes", str(default_workers()))
    table.add_row("disk", f"{format_bytes(shutil.disk_usage('.').free)} free here")
    for package in _PACKAGES:
        table.add_row(package, _version(package))
    console.print(table)
    return 0


def _add_speed(table: Table, device: str, renew: bool, file: Path | None) -> None:
    """Add the speed of the device that is chosen, measured where it is not known, and where it is kept."""
    from autoseg.planners.resources import computes_bfloat16
    from autoseg.planners.speed import kept_in, machine_key, renewed_speed, speed_of_machine
    from autoseg.records import to_plain
    from autoseg.storage import write_json

    precision = "bfloat16" if computes_bfloat16(device) else "float32"
    speed = (renewed_speed if renew else speed_of_machine)(device, precision)
    table.add_row("speed", speed.described)
    table.add_row("", f"kept in {kept_in()}; 'autoseg doctor --renew-speed' measures it again")
    if file:
        write_json(file, {machine_key(device, precision): to_plain(speed)})


def _device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if device == "mps":
        return "Apple GPU"
    return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
