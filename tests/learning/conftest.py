"""What several tests of training share."""

from __future__ import annotations

import pytest


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
