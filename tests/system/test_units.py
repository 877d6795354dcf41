from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.system.units import format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8GB", 8 * 2**30),
        ("512MB", 512 * 2**20),
        ("1.5g", 1.5 * 2**30),
        ("24GiB", 24 * 2**30),
        ("4096", 4096),
        ("10 b", 10),
    ],
)
def test_sizes(text, value):
    assert parse_size(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("4h", 14400), ("1h30m", 5400), ("25m", 1500), ("25min", 1500), ("90s", 90), ("90", 90), ("0.5h", 1800)],
)
def test_durations(text, value):
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "fast", "-3GB", "0GB", "8XB"])
def test_bad_sizes(text):
    with pytest.raises(PlanError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "5x"])
def test_bad_durations(text):
    with pytest.raises(PlanError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90s"), (1500, "25m"), (150, "2m30s"), (5400, "90m"), (9000, "2h30m"), (28800, "8h")]
)
def test_durations_as_people_write_them(seconds, text):
    assert format_duration(seconds) == text


@given(st.floats(1, 1e6))
def test_what_is_written_is_read_again(seconds):
    coarse = 60 if seconds >= 7170 else 1
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=coarse / 2 + 0.5)
