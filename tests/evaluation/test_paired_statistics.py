"""Paired statistics held against scipy, against a published table, and against what must hold for any numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from autoseg.evaluation.paired_statistics import bootstrap_interval, holm, paired_statistics
from autoseg.evaluation.settings import Bootstrap

QUICK = Bootstrap(resamples=500)
NAN = float("nan")

MEAN_DICE = {
    "CT": """
        74 37 45 31 48 51 74 41 65 64 64 56 57 67 54 77 12 68 60 60 12 53 80 59 76 70 28 55 55 44 68
        57 61 68 69 57 54 59 64 67
    """,
    "PET": """
        70 60 59 32 70 66 64 73 74 67 63 57 67 65 69 79 59 63 41 71 0 45 75 58 72 69 65 56 62 44 62
        81 59 66 80 74 58 72 63 60
    """,
    "PET_CT": """
        74 65 58 47 69 63 74 68 76 75 65 61 58 62 65 76 54 69 56 74 19 51 80 73 67 73 58 60 63 47 72
        82 67 71 77 69 50 72 70 67
    """,
}
"""Mean Dice (in hundredths) of 40 patients with head and neck cancer, segmented from CT, PET or both by U-Nets."""


def dice(name):
    return np.array(MEAN_DICE[name].split(), dtype=float) / 100


def random_pair(seed, count=30):
    generator = np.random.default_rng(seed)
    first = generator.random(count)
    return first, first + generator.normal(0.02, 0.05, count)


@pytest.mark.parametrize(
    ("first", "second", "difference", "p"),
    [("CT", "PET_CT", 0.084, 2.1e-5), ("PET", "PET_CT", 0.027, 0.028), ("CT", "PET", 0.057, 0.051)],
)
def test_a_published_table(first, second, difference, p):
    found = paired_statistics(dice(first), dice(second), QUICK)
    assert found.mean == pytest.approx(difference, abs=5e-4)
    assert found.wilcoxon == pytest.approx(p, rel=0.025)
    assert found.low < difference < found.high


def test_numbers_equal_those_of_scipy():
    first, second = random_pair(0)
    found = paired_statistics(first, second, QUICK)
    difference = second - first
    assert found.wilcoxon == stats.wilcoxon(second, first).pvalue
    assert found.t_test == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert found.median_test == stats.median_test(first, second).pvalue
    assert (found.mean, found.median) == (pytest.approx(difference.mean()), np.median(difference))
    assert found.effect_size == pytest.approx(difference.mean() / np.std(difference, ddof=1))
    statistic, ranks = stats.wilcoxon(difference, alternative="greater").statistic, 30 * 31 / 2
    assert found.rank_biserial == pytest.approx((2 * statistic - ranks) / ranks)


def test_the_interval_is_near_students_for_normal_differences():
    values = np.random.default_rng(3).normal(1.0, 2.0, 200)
    low, high = bootstrap_interval(values, Bootstrap())
    student = stats.t.interval(0.95, 199, loc=values.mean(), scale=stats.sem(values))
    assert (low, high) == pytest.approx(student, abs=0.03)
    narrow = bootstrap_interval(values, Bootstrap(confidence=0.5))
    assert low < narrow[0] < narrow[1] < high


def test_a_seed_gives_the_same_interval_again_and_touches_no_global_state():
    values = random_pair(1)[1]
    before = np.random.get_state()[1].copy()
    assert bootstrap_interval(values, QUICK) == bootstrap_interval(values, QUICK)
    assert bootstrap_interval(values, QUICK) != bootstrap_interval(values, Bootstrap(resamples=500, seed=1))
    assert np.array_equal(before, np.random.get_state()[1])


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
@settings(max_examples=15)
def test_exchanging_the_two_turns_the_signs(seed, count):
    first, second = np.random.default_rng(seed).random((2, count))
    there, back = paired_statistics(first, second, QUICK), paired_statistics(second, first, QUICK)
    for name in ("mean", "median", "effect_size", "rank_biserial"):
        assert getattr(there, name) == pytest.approx(-getattr(back, name))
    for name in ("sd", "wilcoxon", "t_test", "median_test"):
        assert getattr(there, name) == pytest.approx(getattr(back, name))
    assert there.low <= there.mean <= there.high


@pytest.mark.filterwarnings("error")
def test_the_same_twice():
    values = random_pair(2)[0]
    found = paired_statistics(values, values, QUICK)
    assert (found.mean, found.sd, found.low, found.high, found.rank_biserial) == (0, 0, 0, 0, 0)
    assert found.wilcoxon == found.t_test == 1
    assert math.isnan(found.effect_size)


@pytest.mark.filterwarnings("error")
def test_one_case_says_nothing():
    found = paired_statistics(np.array([0.5]), np.array([0.75]), QUICK)
    assert (found.mean, found.median, found.wilcoxon) == (0.25, 0.25, 1)
    for value in (found.sd, found.low, found.high, found.effect_size, found.t_test):
        assert math.isnan(value)


@pytest.mark.filterwarnings("error")
def test_perfect_scores_have_no_median_test():
    found = paired_statistics(np.array([1.0, 1.0, 1.0, 0.5]), np.ones(4), QUICK)
    assert math.isnan(found.median_test)
    assert found.mean == 0.125


@pytest.mark.filterwarnings("error")
def test_a_constant_difference_has_no_t_test_whatever_its_rounding():
    first = np.arange(1, 6) / 10
    found = paired_statistics(first, np.arange(2, 7) / 10, QUICK)
    assert found.sd > 0
    assert (found.low, found.high, found.rank_biserial) == (pytest.approx(0.1), pytest.approx(0.1), 1)
    assert math.isnan(found.t_test) and math.isnan(found.effect_size)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, NAN, 0.005])[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03, NAN, 0.005])[4] == pytest.approx(0.02)
    assert math.isnan(holm([NAN, 0.5])[0])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_corrected_p_values_keep_their_order_between_the_raw_and_bonferronis(p_values):
    corrected = holm(p_values)
    for raw, found in zip(p_values, corrected, strict=True):
        assert raw <= found <= min(1, raw * len(p_values) + 1e-12)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
