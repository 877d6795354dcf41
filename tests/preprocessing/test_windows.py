from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.preprocessing.normalization import normalize


def windowed(values, **spec):
    image = np.asarray(values, dtype=np.float32).reshape(1, 1, 1, -1)
    return normalize(image, ({"name": "window", **spec},))[:, 0, 0]


def test_in_hounsfield_units_it_is_the_clip_of_the_source():
    (values,) = windowed([-100, -30, 50, 170, 400], windows=[[70, 200]], output=None)
    assert values.tolist() == [-30, -30, 50, 170, 170]


def test_each_window_is_a_channel_from_minus_one_to_one():
    narrow, wide = windowed([-1000, -160, 40, 240, 1050], windows=[[40, 400], [300, 1500]])
    assert narrow.tolist() == [-1, -1, 0, 1, 1]
    assert np.allclose(wide, [-1, -460 / 750, -260 / 750, -60 / 750, 1])


def test_another_range_and_files_without_negative_values():
    (values,) = windowed([0, 1024 - 60, 1024 + 40, 3000], windows=[[40, 200]], output=[0, 255], hu_offset=1024)
    assert np.allclose(values, [0, 0, 127.5, 255])


@given(
    st.floats(-1000, 1000),
    st.floats(0.1, 3000),
    st.lists(st.floats(-3000, 3000, width=32), min_size=1, max_size=20),
)
def test_every_window_is_monotone_and_stays_in_its_range(centre, width, values):
    (found,) = windowed(sorted(values), windows=[[centre, width]])
    assert (np.diff(found) >= 0).all()
    assert found.min() >= -1.000001 and found.max() <= 1.000001
    expected = (np.clip(sorted(values), centre - width / 2, centre + width / 2) - centre) / (width / 2)
    assert found == pytest.approx(expected, abs=1e-5)
