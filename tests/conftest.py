"""What several tests share: small datasets, and where the real images are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("AUTOSEG_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests and those on real images as well")


def pytest_collection_modifyitems(config, items):
    for item in items:
        wants_slow = "slow" in item.keywords or "real_data" in item.keywords
        if wants_slow and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))
        elif "real_data" in item.keywords and not REAL_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no real images at {REAL_DATA}; set AUTOSEG_REAL_DATA"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


@pytest.fixture
def phantoms(tmp_path) -> Path:
    """A dataset folder with six tiny phantoms for training and two for testing."""
    from autoseg.phantoms import write_phantoms

    folder = tmp_path / "phantoms"
    write_phantoms(folder, training=6, testing=2, size=(8, 24, 24))
    return folder
