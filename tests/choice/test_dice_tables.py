from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap

from autoseg.choice.dice import _influence, case_dice, class_means, difference, mean_dice
from autoseg.data.dataset import Case, Dataset
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.summary import summarize

CASE = Case("a", ())
PLAIN = Dataset("made", ("CT",), {"background": 0, "a": 1, "b": 3}, ".nii.gz", (CASE,), ignore=(7,))
REGIONS = Dataset("made", ("CT",), {}, ".nii.gz", (CASE,), regions={"whole": (1, 3), "b": (3,)}, region_order=(1, 3))
PARTIAL = Dataset("made", ("CT",), PLAIN.labels, ".nii.gz", (CASE,), annotated={"a": ("b",)})
LABELS = arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, 1, 3]))
TABLES = arrays(np.float64, (5, 3), elements=st.one_of(st.floats(0, 1), st.just(np.nan)))


@given(LABELS, arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, 1, 3, 7])))
@pytest.mark.parametrize("dataset", [PLAIN, REGIONS, PARTIAL], ids=["plain", "regions", "partial"])
def test_dice_of_a_case_is_that_of_its_metrics(dataset, prediction, reference):
    classes = dataset.annotated_classes("a")
    metrics = evaluate_case(prediction, reference, spacing=(1, 1, 1), classes=classes, ignore=dataset.ignore)
    expected = [metrics[name].dice if name in metrics else np.nan for name in dataset.classes]
    assert np.array_equal(case_dice(prediction, reference, dataset, "a"), expected, equal_nan=True)


@given(TABLES)
def test_the_mean_is_that_of_a_summary(table):
    cases = {str(i): {str(k): SimpleNamespace(dice=d) for k, d in enumerate(row)} for i, row in enumerate(table)}
    per_class = {name: [case[name].dice for case in cases.values()] for name in "012"}
    means = [np.nanmean(values) for values in per_class.values() if not np.isnan(values).all()]
    expected = np.mean(means) if means else np.nan
    assert mean_dice(table) == pytest.approx(expected, nan_ok=True)


def test_the_mean_of_real_metrics_is_that_of_their_summary():
    rng = np.random.default_rng(0)
    pairs = rng.choice([0, 0, 0, 1, 3], size=(4, 2, 2, 3, 4)).astype(np.uint8)
    pairs[0][pairs[0] == 3] = 0
    metrics = [evaluate_case(*pair, spacing=(1, 1, 1), classes=PLAIN.classes) for pair in pairs]
    table = np.stack([case_dice(*pair, PLAIN, "a") for pair in pairs])
    assert mean_dice(table) == pytest.approx(summarize(dict(zip("abcd", metrics, strict=True))).mean_dice)


@given(TABLES)
def test_influences_cancel_out(table):
    if not np.isnan(table).all():
        assert _influence(table).sum() == pytest.approx(0, abs=1e-9)


def test_the_interval_agrees_with_a_bootstrap_of_the_mean_itself():
    rng = np.random.default_rng(1)
    one, other = rng.uniform(0.6, 0.9, (2, 60, 2))
    one[:30, 1] = other[:30, 1] = np.nan
    found = difference(one, other)

    def statistic(cases):
        return mean_dice(one[cases]) - mean_dice(other[cases])

    expected = bootstrap(
        (np.arange(60),), statistic, n_resamples=1000, vectorized=False, method="percentile", rng=rng
    ).confidence_interval
    assert found.mean == pytest.approx(statistic(np.arange(60)))
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)


def test_a_difference_of_nothing_and_of_one_case():
    nothing = np.full((3, 2), np.nan)
    assert difference(nothing, nothing).mean is None
    one = difference(np.array([[0.9]]), np.array([[0.8]]))
    assert one.mean == pytest.approx(0.1) and one.low is None and not one.shown


def test_means_of_classes_leave_out_what_is_not_defined():
    table = np.array([[0.5, np.nan], [1.0, np.nan]])
    assert class_means(table)[0] == 0.75 and np.isnan(class_means(table)[1])
