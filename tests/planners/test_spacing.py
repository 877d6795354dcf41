from __future__ import annotations

import pytest

from autoseg.fingerprint.record import CaseMeasure, Fingerprint
from autoseg.planners.spacing import axis_order, median_shape, target_spacing


def fingerprint(*cases):
    """Make a fingerprint of (shape, spacing) pairs."""
    measures = (
        CaseMeasure(f"case_{i}", "", shape, shape, spacing, {"a": 1}) for i, (shape, spacing) in enumerate(cases)
    )
    return Fingerprint(tuple(measures), ())


def test_the_median_of_isotropic_cases():
    cases = [((100, 100, 100), (s, 1.0, 2 * s)) for s in (0.8, 1.0, 5.0)]
    assert target_spacing(fingerprint(*cases)) == (1.0, 1.0, 2.0)


def test_a_coarse_axis_takes_its_tenth_percentile():
    cases = [((20, 320, 320), (3.0 + i / 10, 0.6, 0.6)) for i in range(11)]
    assert target_spacing(fingerprint(*cases)) == pytest.approx((3.1, 0.6, 0.6))


def test_a_coarse_axis_is_never_made_the_finest():
    cases = [((20, 320, 320), (s, 0.6, 0.6)) for s in (0.3, 0.3, 0.3, 3.0, 3.0, 3.0, 3.0)]
    assert target_spacing(fingerprint(*cases))[0] == pytest.approx(0.60001)


def test_a_coarse_axis_with_many_voxels_keeps_the_median():
    cases = [((200, 320, 320), (3.0 + i / 10, 0.6, 0.6)) for i in range(11)]
    assert target_spacing(fingerprint(*cases)) == pytest.approx((3.5, 0.6, 0.6))


@pytest.mark.parametrize(
    ("spacing", "order"),
    [((1, 1, 1), (0, 1, 2)), ((3, 1, 1), (0, 1, 2)), ((1, 3, 1), (1, 0, 2)), ((1, 1, 3), (2, 0, 1))],
)
def test_the_coarsest_axis_comes_first(spacing, order):
    assert axis_order(fingerprint(((20, 20, 20), spacing)), spacing) == order


def test_slices_stay_first_however_coarse_their_pixels():
    images = fingerprint(((1, 300, 400), (1.0, 2.5, 2.5)), ((1, 200, 300), (1.0, 2.0, 2.0)))
    assert axis_order(images, target_spacing(images)) == (0, 1, 2)


def test_the_median_shape_is_that_after_resampling():
    cases = fingerprint(((10, 20, 40), (2.0, 1.0, 1.0)), ((20, 20, 40), (2.0, 1.0, 1.0)))
    assert median_shape(cases, (2.0, 0.5, 2.0), (0, 1, 2)) == (15, 40, 20)
    assert median_shape(cases, (None, 0.5, 2.0), (0, 1, 2)) == (15, 40, 20)
    assert median_shape(cases, (1.0, 2.0, 1.0), (2, 0, 1)) == (40, 15, 20)
    assert median_shape(cases, (100.0, 100.0, 100.0), (0, 1, 2)) == (1, 1, 1)
