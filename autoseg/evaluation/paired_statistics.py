"""Statistics of paired measurements: tests, confidence interval, effect size, correction for multiple tests."""

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
"""Batch size of the bootstrap. It limits the memory to 8 kB per case, plus some copies."""
ROUNDING = 1e-9
"""Relative tolerance for equal differences, such as 0.3 - 0.2 and 0.4 - 0.3, which floating point makes unequal."""


@dataclass(frozen=True)
class PairedStatistics:
    """Statistics and tests of the differences, second measurement minus first; undefined values are NaN.

    ``low`` and ``high`` are the confidence interval of the mean difference (BCa bootstrap over cases). ``effect_size``
    is Cohen's d of paired differences: their mean divided by their SD. ``rank_biserial`` is the share of the rank sum
    of positive differences minus that of negative differences (Kerby 2014). The p-values are two-sided: Wilcoxon's
    signed-rank test, the paired t test and Mood's median test. The median test ignores the pairing, so it has less
    power.
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
    """Compare two measurements [cases] of the same cases; at least one case is needed."""
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
    """Return the confidence interval of the mean (BCa bootstrap, Efron 1987); NaN for a single value."""
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
    """Correct p-values for multiple tests (Holm 1979); NaN values stay NaN and are not counted.

    scipy has no correction by Holm, and statsmodels would be a dependency for these lines alone.
    """
    defined = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected = [NAN] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(defined):
        largest = max(largest, min(1.0, p * (len(defined) - rank)))
        corrected[place] = largest
    return corrected


def _constant(values: Values) -> bool:
    """Return whether all values are equal up to rounding."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def _wilcoxon(difference: Values) -> float:
    from scipy.stats import wilcoxon

    if not difference.any():
        # All differences are 0: the data agree perfectly with the null hypothesis.
        return 1.0
    with warnings.catch_warnings():
        # SciPy warns that the normal approximation is poor for few cases; the output shows the number of cases.
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
        # No value is above the common median, for example if most values are exactly 1. The test is undefined.
        return NAN
    return float(median_test(first, second).pvalue)


def _rank_biserial(difference: Values) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.abs(difference[difference != 0]))
    signs = np.sign(difference[difference != 0])
    return float((ranks * signs).sum() / ranks.sum()) if len(ranks) else 0.0
