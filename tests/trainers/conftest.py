"""What several tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture
def small_forests(monkeypatch):
    """Few voxels and features, so that trees grow in no time."""
    for name, value in {"FEATURES": 60, "VOXELS": 1500, "WATCHED": 600}.items():
        monkeypatch.setattr(f"autoseg.trainers.random_forest.{name}", value)


class PassingTime:
    """Stands for the module ``time``: it passes when a test says so."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def passing_time():
    """Return a time to put in place of a module's."""
    return PassingTime()
