"""Statistics of two measurements of the same cases: tests, an interval, an effect size, a correction for many tests."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.evaluation.settings import Bootstrap

Values = npt.NDArray[np.float64]

NAN = float("nan")
RESAMPLES_AT_ONCE = 1000
"""Bounds the memory of a bootstrap: 8 kB for each case, and some copies."""
ROUNDING = 1e-9
"""Share of equal differences by which the arithmetic may set them apart, as 0.3 - 0.2 and 0.4 - 0.3."""


@dataclass(frozen=True)
class PairedStatistics:
    """The second measurement of each case minus the first, described and tested; what is not defined is NaN.

    ``low`` and ``high`` bound the mean difference (BCa bootstrap over cases). ``effect_size`` is Cohen's d of paired
    differences, their mean in units of their SD; ``rank_biserial`` is the share of the ranks of the differences above 0
    minus that of those below (Kerby 2014). The p-values are two-sided: Wilcoxon's signed-rank test, the paired t test
    and Mood's median test, which takes the two for independent samples and so misses more.
    """

    mean: float
    median: float
    sd: float
    low: float
    high: float
    effect_size: float
    rank_biserial: float
    wilcoxon: float
    t_test: float
    median_test: float


def paired_statistics(first: Values, second: Values, bootstrap: Bootstrap) -> PairedStatistics:
    """Compare two measurements [cases] of the same cases, at least one."""
    difference = second - first
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else NAN
    mean = float(difference.mean())
    low, high = bootstrap_interval(difference, bootstrap)
    return PairedStatistics(
        mean=mean,
        median=float(np.median(difference)),
        sd=spread,
        low=low,
        high=high,
        effect_size=NAN if _constant(difference) else mean / spread,
        rank_biserial=_rank_biserial(difference),
        wilcoxon=_wilcoxon(difference),
        t_test=_t_test(difference),
        median_test=_median_test(first, second),
    )


def bootstrap_interval(values: Values, bootstrap: Bootstrap) -> tuple[float, float]:
    """Bound the mean of values by resampling them (BCa, Efron 1987); of one value nothing can be said (NaN)."""
    from scipy.stats import bootstrap as resample

    if len(values) < 2:
        return NAN, NAN
    if _constant(values):
        return float(values.mean()), float(values.mean())
    interval = resample(
        (values,),
        np.mean,
        n_resamples=bootstrap.resamples,
        confidence_level=bootstrap.confidence,
        method="BCa",
        batch=RESAMPLES_AT_ONCE,
        random_state=np.random.default_rng(bootstrap.seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979); those that are NaN stay so and do not count."""
    defined = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected = [NAN] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(defined):
        largest = max(largest, min(1.0, p * (len(defined) - rank)))
        corrected[place] = largest
    return corrected


def _constant(values: Values) -> bool:
    """Tell whether values differ by their rounding at most."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def _wilcoxon(difference: Values) -> float:
    from scipy.stats import wilcoxon

    if not difference.any():
        # Nothing at all differs, which no test can find unlikely.
        return 1.0
    with warnings.catch_warnings():
        # Few cases make the normal approximation doubtful; the number of cases stands beside the p-value.
        warnings.simplefilter("ignore")
        return float(wilcoxon(difference).pvalue)


def _t_test(difference: Values) -> float:
    from scipy.stats import ttest_1samp

    if len(difference) < 2 or _constant(difference):
        return NAN if difference.any() or len(difference) < 2 else 1.0
    return float(ttest_1samp(difference, 0.0).pvalue)


def _median_test(first: Values, second: Values) -> float:
    from scipy.stats import median_test

    both = np.concatenate((first, second))
    if not (both > np.median(both)).any():
        # No value lies above the median of all, as where most of them are a perfect 1.
        return NAN
    return float(median_test(first, second).pvalue)


def _rank_biserial(difference: Values) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.abs(difference[difference != 0]))
    signs = np.sign(difference[difference != 0])
    return float((ranks * signs).sum() / ranks.sum()) if len(ranks) else 0.0
