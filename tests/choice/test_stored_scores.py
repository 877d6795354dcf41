from __future__ import annotations

import numpy as np
import pytest

from autoseg.choice.held_out import missing_scores
from autoseg.errors import WeightsError, WorkspaceError
from autoseg.inference.stored_scores import LEVELS


def test_a_byte_is_exact_enough(made):
    case = made.names[0]
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], made.reference(case).shape).transpose(3, 0, 1, 2)
    made.store("2d", case, probabilities)
    stored = made.held_out().scores("2d", case).probabilities
    assert np.abs(stored - probabilities).max() <= 0.5 / LEVELS + 1e-6


def test_nan_is_not_kept(made):
    case = made.names[0]
    with pytest.raises(WeightsError, match=f"predicts NaN or infinity for case '{case}'; train this fold again"):
        made.store("2d", case, np.full((3, *made.reference(case).shape), np.nan))
    assert case in missing_scores(made.held_out(), ["2d"])["2d", made.held_out().cases[case]]


def test_what_is_half_written_or_damaged_counts_as_missing(made):
    made.predict_all(lambda labels: labels)
    held_out = made.held_out()
    assert not missing_scores(held_out, held_out.configurations)
    first, second, third = list(held_out.cases)[:3]
    for case, damage in ((first, None), (second, "{}"), (third, "not JSON")):
        record = made.fold("2d", held_out.cases[case]).validation / "probabilities" / f"{case}.json"
        if damage is None:
            record.unlink()
        else:
            record.write_text(damage)
    missing = missing_scores(held_out, held_out.configurations)
    assert {case for cases in missing.values() for case in cases} == {first, second, third}
    assert {name for name, _ in missing} == {"2d"}


def test_an_array_of_another_case_is_noticed(made):
    made.predict_all(lambda labels: labels)
    held_out = made.held_out()
    one, other = held_out.cases, {}
    for case in one:
        other.setdefault(made.reference(case).shape, case)
    a, b = list(other.values())[:2]
    folder = {case: made.fold("2d", one[case]).validation / "probabilities" for case in (a, b)}
    (folder[a] / f"{a}.b2nd").write_bytes((folder[b] / f"{b}.b2nd").read_bytes())
    with pytest.raises(WorkspaceError, match="array and record do not fit each other"):
        held_out.scores("2d", a)
