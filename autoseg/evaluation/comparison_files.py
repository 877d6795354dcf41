"""Files of a comparison: JSON with all values, or a CSV table with one row for each metric and class."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoseg.errors import PlanError
from autoseg.evaluation.comparison import ComparedClass, Comparison
from autoseg.files.storage import write_json, write_text

TABLES = (".json", ".csv")


def check_table_name(path: Path) -> None:
    """Raise :class:`PlanError` if :func:`write_comparison` does not support the file ending."""
    if path.suffix.lower() not in TABLES:
        raise PlanError(
            f"{path}: found the ending '{path.suffix}', expected one of {', '.join(TABLES)}; rename the output file"
        )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison as strict JSON or CSV, by the ending of ``path``; undefined values are null or empty."""
    check_table_name(path)
    if path.suffix.lower() == ".json":
        write_json(path, _plain(comparison))
    else:
        write_text(path, _table(comparison))


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "first": comparison.first,
        "second": comparison.second,
        "difference": "second minus first",
        "cases": list(comparison.cases),
        "only_first": list(comparison.only_first),
        "only_second": list(comparison.only_second),
        "bootstrap": asdict(comparison.bootstrap),
        "rows": [
            {key: None if _undefined(value) else value for key, value in _row(compared).items()}
            for compared in comparison.rows
        ],
    }


def _table(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _row(comparison.rows[0]), lineterminator="\n")
    writer.writeheader()
    for compared in comparison.rows:
        writer.writerow({key: "" if _undefined(value) else value for key, value in _row(compared).items()})
    return text.getvalue()


def _row(compared: ComparedClass) -> dict[str, Any]:
    return {
        "metric": compared.pairs.metric,
        "class": compared.pairs.name,
        "cases": len(compared.pairs.cases),
        "left_out": compared.pairs.left_out,
        "first_mean": compared.first_mean,
        "second_mean": compared.second_mean,
        **{
            f"difference_{name}": getattr(compared.statistics, name) for name in ("mean", "median", "sd", "low", "high")
        },
        **{name: getattr(compared, name) for name in ("better", "worse", "equal")},
        **{name: getattr(compared.statistics, name) for name in ("effect_size", "rank_biserial")},
        "wilcoxon_p": compared.statistics.wilcoxon,
        "wilcoxon_p_holm": compared.wilcoxon_holm,
        "t_test_p": compared.statistics.t_test,
        "t_test_p_holm": compared.t_test_holm,
        "median_test_p": compared.statistics.median_test,
        "median_test_p_holm": compared.median_test_holm,
    }


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
