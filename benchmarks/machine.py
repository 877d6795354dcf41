"""The line that figures are published with: which machine, what it computes with, and how busy it was."""

from __future__ import annotations

import os

from autoseg.planners.speed import machine_key
from autoseg.system.devices import computes_bfloat16


def machine_line() -> str:
    """Return the line by which ``autoseg doctor`` names this machine, and its load over the last minute."""
    precision = "bfloat16" if computes_bfloat16("cpu") else "float32"
    return f"{machine_key('cpu', precision)}; load {os.getloadavg()[0]:.1f}"
