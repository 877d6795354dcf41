from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.evaluation.reliability import pooled, reliability
from autoseg.report.reliability_plot import reliability_plot


def test_ranges_hold_what_was_claimed_and_reached():
    found = reliability(np.array([0.0, 0.1, 0.5, 0.55, 1.0]), np.array([False, True, True, False, True]), bins=2)
    assert found.counts.tolist() == [3, 2], "a range includes its upper end"
    np.testing.assert_allclose(found.mean_confidence, [0.2, 0.775])
    np.testing.assert_allclose(found.accuracy, [2 / 3, 0.5])
    assert found.expected_error == pytest.approx((3 * abs(2 / 3 - 0.2) + 2 * abs(0.5 - 0.775)) / 5)


def test_what_is_right_as_often_as_it_claims_has_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    assert reliability(confidence, rng.random(200_000) < confidence).expected_error < 0.005
    assert reliability(confidence, rng.random(200_000) < confidence**2).expected_error > 0.1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2), st.integers(1, 20))
def test_cases_may_be_measured_apart(said, bins):
    confidence, right = (np.array(column) for column in zip(*said, strict=True))
    parts = [reliability(confidence[half], right[half], bins=bins) for half in (slice(0, 1), slice(1, None))]
    together, whole = pooled(parts), reliability(confidence, right, bins=bins)
    assert np.array_equal(together.counts, whole.counts)
    assert together.expected_error == pytest.approx(whole.expected_error)


def test_every_confidence_needs_its_outcome():
    with pytest.raises(ValueError, match="2 confidences and 3 values of correctness"):
        reliability(np.zeros(2), np.zeros(3))


def test_the_plot_says_what_was_found():
    svg = reliability_plot(reliability(np.array([0.9, 0.9]), np.array([1, 0])), name="r", title="Voxels")
    assert svg.startswith("<svg") and "error 0.400" in svg and "Voxels" in svg
    empty = reliability_plot(reliability(np.array([]), np.array([])), name="r", title="Nothing")
    assert "error nan" in empty
