"""What tests of forests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def small_forests(monkeypatch):
    """Few voxels and features, so that trees grow in no time."""
    for name, value in {"FEATURES": 60, "VOXELS": 1500, "WATCHED": 600}.items():
        monkeypatch.setattr(f"autoseg.trainers.forest.training.{name}", value)
