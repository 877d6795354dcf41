"""The command ``autoseg doctor``: shows the hardware and the package versions of this machine."""

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
    renew_speed: Annotated[
        bool, typer.Option("--renew-speed", help="Measure the speed of this machine again.")
    ] = False,
    write_speed: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the measured speed to a file, for planning on another machine."),
    ] = None,
) -> int:
    """Show devices, memory, precision, speed and package versions of this machine."""
    import platform
    import shutil
    import sys

    from autoseg.planners.resources import free_memory
    from autoseg.system.devices import choose_device, computes_bfloat16, devices
    from autoseg.system.execution import default_workers
    from autoseg.system.memory import available_memory, format_bytes

    table = Table("", "", show_header=False, title="this machine")
    chosen = choose_device()
    table.add_row("autoseg", f"{_version('autoseg')}, Python {sys.version.split()[0]}, {platform.system()}")
    for device in devices():
        native = "native" if computes_bfloat16(device) else "emulated (plans use float32)"
        mark = " (chosen by default)" if device.split(":")[0] == chosen else ""
        table.add_row(
            device + mark,
            f"{_device_name(device)}, bfloat16 {native}, memory for plans {format_bytes(free_memory(device))}",
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
    """Add the speed of the chosen device and the file that stores it. An unknown speed is measured."""
    from autoseg.files.records import to_plain
    from autoseg.files.storage import write_json
    from autoseg.planners.speed import kept_in, machine_key, renewed_speed, speed_of_machine
    from autoseg.system.devices import computes_bfloat16

    precision = "bfloat16" if computes_bfloat16(device) else "float32"
    speed = (renewed_speed if renew else speed_of_machine)(device, precision)
    table.add_row("speed", speed.described)
    table.add_row("", f"stored in {kept_in()}; 'autoseg doctor --renew-speed' measures it again")
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
