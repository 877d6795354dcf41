from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.learning.progress import TrainingProgress


@given(st.integers(1, 500))
def test_progress_is_even_when_the_length_is_fixed(total):
    progress = TrainingProgress(total)
    for step in range(total):
        assert progress.fraction == pytest.approx(step / total, abs=1e-9)
        progress.advance()
    assert progress.done
    assert progress.fraction == pytest.approx(1.0)


@given(st.integers(2, 300), st.integers(1, 300), st.data())
def test_progress_ends_at_one_whatever_the_length_becomes(total, other, data):
    progress = TrainingProgress(total)
    for _ in range(data.draw(st.integers(0, total - 1))):
        progress.advance()
    progress.total = progress.step + other
    before = progress.fraction
    while not progress.done:
        progress.advance()
        assert progress.fraction >= before
        before = progress.fraction
    assert progress.fraction == pytest.approx(1.0)


def test_fit_takes_what_the_time_allows(monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr("autoseg.learning.progress.time.monotonic", lambda: next(clock))
    progress = TrainingProgress(1000)
    progress.mark()
    for _ in range(100):
        progress.advance()
    # A hundred steps took ten seconds: fifty more seconds hold five hundred.
    assert progress.fit(50.0)
    assert progress.total == 600


def test_a_pace_survives_being_written():
    progress = TrainingProgress(10)
    progress.advance()
    assert TrainingProgress(**progress.to_plain()).step == 1
