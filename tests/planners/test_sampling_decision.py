"""When classes are drawn before cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import CaseMeasure, Fingerprint
from autoseg.planners.sampling import sampling
from autoseg.sampling.stream import build_sampler


def dataset(*names):
    return Dataset("d", ("CT",), {"background": 0} | {name: i for i, name in enumerate(names, start=1)}, ".nii.gz", ())


def fingerprint(names, *cases):
    """A fingerprint of cases, each given by the classes that it has."""
    size = ((9, 9, 9), (9, 9, 9), (1.0, 1.0, 1.0))
    measures = (
        CaseMeasure(f"case_{number}", "", *size, {name: 5 * (name in held) for name in names})
        for number, held in enumerate(cases)
    )
    return Fingerprint(tuple(measures), ())


ORGANS = ("liver", "kidney", "spleen_left")


def test_a_class_that_few_cases_have_is_drawn_before_its_case():
    cases = [ORGANS] * 3 + [ORGANS[:2]] * 37
    found = sampling(dataset(*ORGANS), fingerprint(ORGANS, *cases))
    assert found.spec == {"name": "balanced", "fraction": 0.33}
    build_sampler(found.spec)
    assert found.decision.reasons == (
        "classes in few cases: spleen_left in 3 of 40 cases",
        "spleen_left is drawn for 17.4% of the foreground patches; if cases were drawn first, it would be drawn for "
        "2.5%",
    )


@pytest.mark.parametrize("rare", [20, 8, 40])
def test_classes_that_a_fifth_of_the_cases_have_are_drawn_as_in_nnunet(rare):
    cases = [ORGANS] * rare + [ORGANS[:2]] * (40 - rare)
    found = sampling(dataset(*ORGANS), fingerprint(ORGANS, *cases))
    assert found.spec == {"name": "foreground", "fraction": 0.33}
    fewest = "liver in 40" if rare == 40 else f"spleen_left in {rare}"
    assert found.decision.reasons == (f"rarest class: {fewest} of 40 cases",)


def test_cases_of_one_class_each_need_nothing():
    names = tuple(f"organ_{number}" for number in range(10))
    found = sampling(dataset(*names), fingerprint(names, *[(name,) for name in names] * 4))
    assert found.spec["name"] == "foreground"


def test_what_was_not_annotated_does_not_count():
    cases = [ORGANS] * 40
    seen, all_annotated = fingerprint(ORGANS, *cases), dataset(*ORGANS)
    assert sampling(all_annotated, seen).spec["name"] == "foreground"
    partly = replace(all_annotated, annotated={f"case_{number}": ORGANS[:2] for number in range(2, 40)})
    found = sampling(partly, seen)
    assert found.spec["name"] == "balanced" and "spleen_left in 2 of 40 cases" in found.decision.reasons[0]


def test_classes_that_no_case_has_are_left_out():
    found = sampling(dataset(*ORGANS), fingerprint(ORGANS, *[("liver",)] * 5))
    assert found.decision.reasons == ("rarest class: liver in 5 of 5 cases",)
    assert sampling(dataset("a"), fingerprint("a", ())).decision.reasons == ("no case has any class",)


def test_many_rare_classes_are_named_in_part():
    names = ("common", *(f"rare_{number}" for number in range(9)))
    cases = [("common",)] * 91 + [("common", name) for name in names[1:]]
    reason = sampling(dataset(*names), fingerprint(names, *cases)).decision.reasons[0]
    assert reason.startswith("classes in few cases: rare_0 in 1 of 100 cases, rare_1") and reason.endswith("and 4 more")


def test_where_no_case_has_any_class_there_is_nothing_rare():
    found = sampling(dataset("a"), fingerprint((), (), ()))
    assert found.spec["name"] == "foreground" and "no case has any class" in found.decision.reasons
