"""A cascade is compared and averaged with its own first stage, each case predicted by the fold that held it out."""

from __future__ import annotations

import autoseg
from autoseg.choice import choose

from .conftest import CASCADE, STAGE


def test_a_cascade_is_chosen_among_and_predicted_again_alike(cascade):
    before = choose(cascade, predict=False, workers=0)
    assert {CASCADE, STAGE} in [set(result.configurations) for result in before.results]
    assert before.cases == 6
    for fold in (0, 1):
        for file in cascade.fold(CASCADE, fold).validation.glob("probabilities/*"):
            file.unlink()
    assert choose(cascade, device="cpu", workers=0) == before
    predictor = autoseg.Predictor.load(cascade.root)
    assert tuple(member.name for member in predictor.members) == before.chosen
