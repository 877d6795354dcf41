"""Two evaluations side by side: which cases and classes are compared, what is better, and the files."""

from __future__ import annotations

import csv
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from autoseg.errors import DatasetError, PlanError, WorkspaceError
from autoseg.evaluation.comparison import ALL_CLASSES, compare, read_evaluation
from autoseg.evaluation.comparison_files import write_comparison
from autoseg.evaluation.comparison_plot import check_plot_name, write_comparison_plot
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.settings import Bootstrap, MetricSettings
from autoseg.evaluation.summary import summarize

NAN = float("nan")
QUICK = Bootstrap(resamples=200)

ONE = np.ones((1, 1, 2), dtype=np.uint8)
TEMPLATE = evaluate_case(ONE, ONE, spacing=(1, 1, 1), classes={"it": (1,)})["it"]


def summary(**cases):
    """A summary of cases whose classes have these metrics: ``ann={"liver": {"dice": 0.5}}``."""
    measured = {
        case: {name: replace(TEMPLATE, **metrics) for name, metrics in classes.items()}
        for case, classes in cases.items()
    }
    return summarize(measured)


def of(metric, **cases):
    return summary(
        **{
            case: {name: {metric: value} for name, value in zip(("liver", "tumour"), values, strict=False)}
            for case, values in cases.items()
        }
    )


@pytest.fixture
def pair():
    first = of("dice", ann=(0.8, 0.2), ben=(0.7, NAN), carl=(0.6, 0.4), dora=(0.9, 0.5))
    second = of("dice", ann=(0.9, 0.1), ben=(0.8, 0.3), carl=(0.6, 0.8), eve=(0.9, 0.5))
    return first, second


def rows(comparison, metric="dice"):
    return {row.pairs.name: row for row in comparison.rows if row.pairs.metric == metric}


def test_differences_are_taken_case_by_case(pair):
    found = rows(compare(*pair, bootstrap=QUICK))
    assert list(found) == ["liver", "tumour", ALL_CLASSES]
    liver = found["liver"]
    assert liver.pairs.cases == ("ann", "ben", "carl")
    assert liver.statistics.mean == pytest.approx(0.2 / 3)
    assert (liver.first_mean, liver.second_mean) == (pytest.approx(0.7), pytest.approx(2.3 / 3))
    assert (liver.better, liver.worse, liver.equal, liver.pairs.left_out) == (2, 0, 1, 0)


def test_what_either_does_not_define_is_left_out_and_counted(pair):
    found = rows(compare(*pair, bootstrap=QUICK))
    tumour, mean = found["tumour"], found[ALL_CLASSES]
    assert (tumour.pairs.cases, tumour.pairs.left_out) == (("ann", "carl"), 1)
    assert (tumour.better, tumour.worse) == (1, 1)
    # Of Ben the liver alone is compared, in both evaluations.
    assert mean.pairs.first == pytest.approx([0.5, 0.7, 0.5])
    assert mean.pairs.second == pytest.approx([0.5, 0.8, 0.7])


def test_a_class_that_was_not_annotated_in_a_case_is_not_compared_there(pair):
    first, _ = pair
    partly = of("dice", ann=(0.9, 0.1), ben=(0.8,), carl=(0.6, 0.8))
    found = rows(compare(first, partly, bootstrap=QUICK))
    assert found["liver"].pairs.cases == ("ann", "ben", "carl")
    assert (found["tumour"].pairs.cases, found["tumour"].pairs.left_out) == (("ann", "carl"), 0)
    assert found[ALL_CLASSES].pairs.second == pytest.approx([0.5, 0.8, 0.7])


def test_cases_and_classes_of_one_alone_are_named(pair, caplog):
    first, second = pair
    second.classes["kidney"] = second.classes["liver"]
    with caplog.at_level(logging.WARNING):
        comparison = compare(first, second, names=("old", "new"), bootstrap=QUICK)
    assert (comparison.only_first, comparison.only_second) == (("dora",), ("eve",))
    assert "only old contains the case dora: left out" in caplog.text
    assert "only new contains the case eve" in caplog.text and "only new contains the class kidney" in caplog.text


@pytest.mark.parametrize(
    ("metric", "first", "second", "better"),
    [
        ("dice", 0.5, 0.6, True),
        ("hd95", 5.0, 6.0, False),
        ("relative_volume_difference", -0.3, 0.1, True),
        ("volume_difference", 10.0, -20.0, False),
    ],
)
def test_what_is_better_depends_on_the_metric(metric, first, second, better):
    comparison = compare(of(metric, ann=(first,)), of(metric, ann=(second,)), metrics=(metric,), bootstrap=QUICK)
    (row,) = comparison.rows
    assert (row.better, row.worse) == ((1, 0) if better else (0, 1))


def test_p_values_are_corrected_for_the_classes_but_not_for_their_mean():
    generator = np.random.default_rng(0)
    values = {f"case{index}": tuple(generator.random(2)) for index in range(12)}
    other = {case: tuple(np.array(dice) + (0.1, 0.01) * generator.random(2)) for case, dice in values.items()}
    found = rows(compare(of("dice", **values), of("dice", **other), bootstrap=QUICK))
    ordered = sorted((found["liver"], found["tumour"]), key=lambda row: row.statistics.t_test)
    assert ordered[0].t_test_holm == pytest.approx(2 * ordered[0].statistics.t_test)
    assert ordered[1].t_test_holm == pytest.approx(max(ordered[0].t_test_holm, ordered[1].statistics.t_test))
    assert math.isnan(found[ALL_CLASSES].t_test_holm)


def test_several_metrics_come_one_after_the_other(pair):
    comparison = compare(*pair, metrics=("nsd", "dice"), bootstrap=QUICK)
    assert [row.pairs.metric for row in comparison.rows] == ["nsd"] * 3 + ["dice"] * 3


def test_a_metric_that_is_nowhere_defined_has_no_numbers():
    comparison = compare(of("hd95", ann=(NAN,)), of("hd95", ann=(NAN,)), metrics=("hd95",))
    (row,) = comparison.rows
    assert row.pairs.left_out == 1
    assert math.isnan(row.statistics.mean) and math.isnan(row.wilcoxon_holm)


def test_what_cannot_be_compared_is_refused(pair, tmp_path):
    with pytest.raises(PlanError, match="metric 'dise': expected one of dice, "):
        compare(*pair, metrics=("dise",))
    with pytest.raises(PlanError, match="metric 'reference_ml': expected one of"):
        compare(*pair, metrics=("reference_ml",))
    with pytest.raises(DatasetError, match=r"no case in common \(first names: 'ann' and 'zoe'\)"):
        compare(pair[0], of("dice", zoe=(1.0,)))
    with pytest.raises(DatasetError, match=r"no class in common \(first names: 'liver' and 'spleen'\)"):
        compare(pair[0], summary(ann={"spleen": {}}))
    with pytest.raises(DatasetError, match=r"no case in common \(first names: 'ann' and none\)"):
        compare(pair[0], summarize({}))
    with pytest.raises(DatasetError, match=r"found no summary\.json; run 'autoseg evaluate"):
        read_evaluation(tmp_path)
    (tmp_path / "summary.json").write_text('{"cases": ["ann"]}')
    with pytest.raises(WorkspaceError, match=r"summary\.json: field 'cases', found no metrics"):
        read_evaluation(tmp_path)


def test_evaluations_with_other_settings_are_refused(pair):
    first = pair[0]
    with pytest.raises(DatasetError, match="B: found --empty one, expected nan as in A"):
        compare(first, replace(first, settings=MetricSettings(empty="one")))
    coarse = replace(first, settings=MetricSettings(tolerance=3))
    with pytest.raises(DatasetError, match=r"found --tolerance 3, expected 2\.0 as in A"):
        compare(first, coarse, metrics=("nsd",))
    assert compare(first, coarse, metrics=("dice",), bootstrap=QUICK).rows


def test_files_say_the_same(pair, tmp_path):
    comparison = compare(*pair, names=("old", "new"), bootstrap=QUICK)
    for ending in ("json", "csv"):
        write_comparison(comparison, tmp_path / f"it.{ending}")
    plain = json.loads((tmp_path / "it.json").read_text(), parse_constant=pytest.fail)
    with (tmp_path / "it.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert (plain["first"], plain["second"], plain["bootstrap"]["seed"]) == ("old", "new", 0)
    assert (plain["cases"], plain["only_first"]) == (["ann", "ben", "carl"], ["dora"])
    for row, line in zip(plain["rows"], table, strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == line
    assert table[0]["difference_mean"] == str(comparison.rows[0].statistics.mean)
    with pytest.raises(PlanError, match=r"it\.xls: found the ending '\.xls', expected one of \.json, \.csv"):
        write_comparison(comparison, tmp_path / "it.xls")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_is_drawn_of_few_classes_and_of_many(pair, tmp_path, ending):
    many = {f"organ{index}": {"dice": index / 20} for index in range(15)}
    for first, second in (pair, (summary(ann=many), summary(ann=many)), (of("dice", a=(NAN,)), of("dice", a=(NAN,)))):
        path = tmp_path / f"picture.{ending}"
        write_comparison_plot(compare(first, second, metrics=("dice", "hd"), bootstrap=QUICK), path)
        assert path.stat().st_size > 5000
        path.unlink()


def test_a_picture_of_another_kind_is_refused(tmp_path):
    with pytest.raises(PlanError, match=r"expected one of \.png, \.pdf, \.svg"):
        check_plot_name(tmp_path / "picture.jpg")
