from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.trainers.pace import Pace


@given(st.integers(1, 500))
def test_progress_is_even_when_the_length_is_fixed(total):
    pace = Pace(total)
    for step in range(total):
        assert pace.progress == pytest.approx(step / total, abs=1e-9)
        pace.advance()
    assert pace.done
    assert pace.progress == pytest.approx(1.0)


@given(st.integers(2, 300), st.integers(1, 300), st.data())
def test_progress_ends_at_one_whatever_the_length_becomes(total, other, data):
    pace = Pace(total)
    for _ in range(data.draw(st.integers(0, total - 1))):
        pace.advance()
    pace.total = pace.step + other
    before = pace.progress
    while not pace.done:
        pace.advance()
        assert pace.progress >= before
        before = pace.progress
    assert pace.progress == pytest.approx(1.0)


def test_fit_takes_what_the_time_allows(monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr("autoseg.trainers.pace.time.monotonic", lambda: next(clock))
    pace = Pace(1000)
    pace.mark()
    for _ in range(100):
        pace.advance()
    # A hundred steps took ten seconds: fifty more seconds hold five hundred.
    assert pace.fit(50.0)
    assert pace.total == 600


def test_a_pace_survives_being_written():
    pace = Pace(10)
    pace.advance()
    assert Pace(**pace.to_plain()).step == 1
