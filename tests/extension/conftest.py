"""A package outside the project, installed in a folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ENTRY_POINTS = """
[autoseg.networks]
outside_net = outside_autoseg:OutsideNet
[autoseg.losses]
outside_loss = outside_autoseg:OutsideLoss
[autoseg.normalizations]
outside_halved = outside_autoseg:Halved
[autoseg.extra_channels]
outside_ramp = outside_autoseg:Ramp
[autoseg.postprocessing]
outside_inverted = outside_autoseg:Inverted
outside_bright = outside_autoseg:BrightInT1
[autoseg.trainers]
teacher_and_critic = outside_trainer:TeacherAndCritic
"""


@pytest.fixture
def installed(tmp_path) -> dict[str, str]:
    """Install the package in a folder; return the environment of commands that see it."""
    folder = tmp_path / "site"
    information = folder / "outside_autoseg-1.0.dist-info"
    information.mkdir(parents=True)
    for name in ("outside_autoseg.py", "outside_trainer.py"):
        shutil.copy(Path(__file__).with_name(name), folder)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outside_autoseg\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}
