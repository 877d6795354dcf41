"""Which devices predict."""

from __future__ import annotations

from collections.abc import Sequence

from autoseg.errors import PlanError

AUTO = "auto"


def parse_devices(text: str | None) -> list[str] | None:
    """Read names of devices with commas between them; a number alone is a GPU's."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise PlanError(f"devices '{text}': expected names with commas between them, such as 0,1 or cuda:0,cpu")
    return [f"cuda:{name}" if name.isdecimal() else name for name in names]


def check_devices(device: str, devices: Sequence[str] | None) -> list[str]:
    """Return the names of the devices that predict, each checked to be on this machine.

    Raises :class:`PlanError` where there are none, or ``device`` names one beside them.
    """
    from autoseg.planners.resources import choose_device

    if devices is None:
        return [choose_device(device)]
    if device != AUTO:
        raise PlanError(f"device '{device}' and devices {', '.join(devices)}: name either the one or the others")
    if not devices:
        raise PlanError("devices: found none, expected one at least")
    return [choose_device(name) for name in devices]
