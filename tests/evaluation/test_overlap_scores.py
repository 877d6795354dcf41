"""Scores from counts: published confusion matrices, what is not defined, and what empty references are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.overlap import overlap_scores
from autoseg.evaluation.settings import MetricSettings

counts = st.integers(0, 10**12)
NAN = float("nan")


def correlation(both, only_predicted, only_expected, neither):
    """The MCC is Pearson's correlation of the two masks: here from one row of voxels for each of the four counts."""
    predicted = np.repeat([1, 1, 0, 0], (both, only_predicted, only_expected, neither))
    expected = np.repeat([1, 0, 1, 0], (both, only_predicted, only_expected, neither))
    return np.corrcoef(predicted, expected)[0, 1]


def test_published_confusion_matrices():
    good = overlap_scores(48, 4, 2, 46)
    assert (good.accuracy, good.mcc) == (0.94, pytest.approx(0.8807, abs=5e-5))
    one_sided = overlap_scores(94, 5, 1, 0)
    assert one_sided.accuracy == 0.94
    assert one_sided.precision == pytest.approx(0.9495, abs=5e-5)
    assert one_sided.recall == pytest.approx(0.9895, abs=5e-5)
    assert one_sided.dice == pytest.approx(0.969, abs=5e-4)
    assert one_sided.iou == 0.94
    assert one_sided.mcc == pytest.approx(-0.0231, abs=5e-5)
    assert one_sided.specificity == 0


@given(st.tuples(*[st.integers(1, 60)] * 4))
def test_the_mcc_is_the_correlation_of_the_masks(four):
    assert overlap_scores(*four).mcc == pytest.approx(correlation(*four), abs=1e-9)


@given(st.tuples(counts, counts, counts, counts))
def test_scores_lie_where_they_should_for_images_of_any_size(four):
    scores = overlap_scores(*four)
    for name, value in vars(scores).items():
        assert math.isnan(value) or (-1 if name == "mcc" else 0) <= value <= 1


def test_the_mcc_at_the_ends():
    assert overlap_scores(7, 0, 0, 12345).mcc == 1
    assert overlap_scores(0, 7, 3, 0).mcc == -1
    assert overlap_scores(0, 0, 3, 50).mcc == 0, "nothing is predicted"
    assert overlap_scores(7, 3, 0, 0).mcc == 0, "all is predicted"
    assert math.isnan(overlap_scores(0, 0, 0, 5).mcc), "there is nothing in either"
    assert math.isnan(overlap_scores(5, 0, 0, 0).mcc), "there is nothing else in either"


def test_true_negatives_that_are_not_known_leave_the_rest():
    scores = overlap_scores(48, 4, 2, NAN)
    assert scores.dice == pytest.approx(96 / 102)
    assert all(math.isnan(value) for value in (scores.specificity, scores.accuracy, scores.mcc))


EMPTY = np.zeros((4, 4, 4), dtype=np.uint8)
FULL = np.ones((4, 4, 4), dtype=np.uint8)


def measure(prediction, reference, rule):
    settings = MetricSettings(empty=rule)
    return evaluate_case(prediction, reference, spacing=(1, 1, 1), classes={"it": (1,)}, settings=settings)["it"]


@pytest.mark.parametrize(
    ("rule", "nothing", "invented"),
    [("nan", NAN, 0), ("omit", NAN, NAN), ("one", 1, 0), ("zero", 0, 0)],
)
def test_an_empty_reference(rule, nothing, invented):
    for prediction, expected in ((EMPTY, nothing), (FULL, invented)):
        metrics = measure(prediction, EMPTY, rule)
        for score in (metrics.dice, metrics.iou, metrics.nsd):
            assert score == pytest.approx(expected, nan_ok=True)
        assert metrics.false_positives == prediction.sum(), "counts are what they are"
        distance = 0 if expected == 1 else NAN
        for value in (metrics.hd, metrics.hd95, metrics.assd):
            assert value == pytest.approx(distance, nan_ok=True)


@pytest.mark.parametrize("rule", ["nan", "omit", "one", "zero"])
def test_a_reference_that_is_not_empty_is_measured_the_same_under_every_rule(rule):
    missed = measure(EMPTY, FULL, rule)
    assert missed.dice == missed.nsd == missed.mcc == missed.recall == 0
    assert math.isnan(missed.hd) and math.isnan(missed.precision)
    assert measure(FULL, FULL, rule).dice == 1


def test_settings_that_make_no_sense():
    with pytest.raises(PlanError, match="empty 'two': expected one of nan, omit, one, zero"):
        MetricSettings(empty="two")
    for tolerance in (-1, NAN, math.inf):
        with pytest.raises(PlanError, match="expected a distance in mm"):
            MetricSettings(tolerance=tolerance)
