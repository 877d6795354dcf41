"""Along which axes a plan mirrors, for each thing that a dataset with left and right classes may be like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoseg.augmentation import settings_from
from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.plan.schema import MirroredClasses
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.mirroring import mirroring
from autoseg.planners.resources import GIGABYTE, Resources

KIDNEYS = (("kidney_left", "kidney_right"),)
PLAIN = Dataset("made", ("MR",), {"background": 0, "kidney_left": 1, "kidney_right": 2}, ".nii.gz", ())
PAIRED = replace(PLAIN, sides=KIDNEYS)
SEEN = Intensities(50.0, 20.0, 48.0, -9.0, 300.0, 1.0, 99.0)
CUBE = ((40, 40, 40), (1.0, 1.0, 1.0))
AXIAL = ((10, 40, 40), (5.0, 1.0, 1.0))
OBLIQUE = 40.0
"""Degrees at which cases of different orientations are left as they are."""
SAGITTAL = ((40, 40, 10), (1.0, 1.0, 5.0))


def fingerprint(*orientations, shape=CUBE[0], spacing=CUBE[1], tilt=0.0):
    voxels = {"kidney_left": 9, "kidney_right": 9}
    cases = (
        CaseMeasure(f"case_{i}", "", shape, shape, spacing, voxels, orientation=code, tilt=tilt)
        for i, code in enumerate(orientations)
    )
    return Fingerprint(tuple(cases), (SEEN,))


def decide(dataset, *orientations, transpose=(0, 1, 2), tilt=0.0):
    return mirroring(dataset, fingerprint(*orientations, tilt=tilt), transpose)


def test_without_sides_all_axes_are_mirrored():
    found = decide(PLAIN, "SPL", "LSP")
    assert found.axes == (0, 1, 2) and found.mirrored_classes is None and found.lateral == ()
    assert found.decision.about == "data" and found.decision.decision == "mirrored along z, y, x"


@pytest.mark.parametrize(
    ("orientation", "transpose", "axis"),
    [("SPL", (0, 1, 2), 2), ("IAR", (0, 1, 2), 2), ("SLP", (0, 1, 2), 1), ("PSL", (2, 0, 1), 0), ("LSP", (1, 2, 0), 2)],
)
def test_pairs_change_places_along_the_axis_that_left_and_right_have_in_the_plan(orientation, transpose, axis):
    found = decide(PAIRED, orientation, orientation, transpose=transpose)
    assert found.axes == (0, 1, 2) and found.mirrored_classes == MirroredClasses(axis, KIDNEYS)
    assert f"along {'zyx'[axis]}, left and right classes are swapped" in found.decision.decision
    assert found.decision.reasons[0] == "classes with a side: kidney_left and kidney_right"


def test_axes_that_do_not_matter_may_differ():
    assert decide(PAIRED, "SPL", "IAL", tilt=OBLIQUE).mirrored_classes == MirroredClasses(2, KIDNEYS)


def test_cases_that_are_turned_alike_are_counted_as_they_are_turned():
    found = decide(PAIRED, "SPL", "LSP", "RAI", "LSP", transpose=(1, 2, 0))
    assert found.axes == (0, 1, 2) and found.mirrored_classes == MirroredClasses(2, KIDNEYS), (
        "LSP, the commonest, with z last"
    )


def test_oblique_cases_of_different_axes_are_mirrored_along_none_of_them():
    found = decide(PAIRED, "SPL", "SPL", "LSP", tilt=OBLIQUE)
    assert found.axes == (1,) and found.mirrored_classes is None
    assert (
        "left and right differ between cases: along z towards L in 1, along x towards L in 2" in found.decision.reasons
    )


def test_oblique_cases_that_run_opposite_ways_are_not_mirrored_along_that_axis():
    found = decide(PAIRED, "SPL", "SPR", tilt=OBLIQUE)
    assert found.axes == (0, 1) and found.mirrored_classes is None
    assert "along x towards L in 1, along x towards R in 1" in found.decision.reasons[-1]


def test_a_class_without_counterpart_keeps_images_from_being_mirrored_across_the_body():
    alone = replace(PLAIN, labels={"background": 0, "kidney_left": 1}, one_sided=("kidney_left",))
    found = decide(alone, "SPL", "SPL")
    assert found.axes == (0, 1) and found.mirrored_classes is None
    assert "without a counterpart: kidney_left" in found.decision.reasons
    both = replace(PAIRED, one_sided=("eye_l", "ear_l", "arm_l", "leg_l"))
    assert decide(both, "SPL").axes == (0, 1)
    assert "without a counterpart: eye_l, ear_l, arm_l and 1 more" in decide(both, "SPL").decision.reasons


def test_regions_that_cannot_change_places():
    regions = replace(PAIRED, labels={}, regions={"kidney_left": (1, 3), "kidney_right": (2,)}, region_order=(1, 2))
    found = decide(regions, "SPL")
    assert found.axes == (0, 1) and found.mirrored_classes is None
    assert "the regions of a pair do not consist of paired label values" in found.decision.reasons
    alike = replace(regions, regions={"kidney_left": (1, 3), "kidney_right": (2, 4)})
    assert decide(alike, "SPL").mirrored_classes == MirroredClasses(2, KIDNEYS)


def test_a_fingerprint_that_does_not_know_left_and_right_leaves_no_axis():
    found = decide(PAIRED, "SPL", "")
    assert found.axes == () and found.mirrored_classes is None
    assert found.decision.decision == "mirrored along no axis"
    assert "remove the file and plan again" in found.decision.reasons[-1]


def planned(dataset, shape, spacing, orientation, configuration):
    seen = fingerprint(*[orientation] * 20, shape=shape, spacing=spacing)
    return make_plan(
        PlanRequest(dataset, seen, Resources("cuda", GIGABYTE, bfloat16=True, is_here=False), (configuration,)), "unet"
    )


def degrees(plan, name):
    return settings_from(plan.configuration(name).augmentation).rotation.degrees


def test_the_plan_holds_the_decision():
    plan = planned(PAIRED, *CUBE, "SPL", "3d_fullres")
    assert plan.mirror_axes == (0, 1, 2) and plan.mirrored_classes == MirroredClasses(2, KIDNEYS)
    assert any("left and right classes are swapped" in decision.decision for decision in plan.explanation)
    assert degrees(plan, "3d_fullres") is None, "30 degrees are what 3D patches turn at most"


@pytest.mark.parametrize(("data", "orientation", "bound"), [(AXIAL, "SPL", 30.0), (SAGITTAL, "SPL", None)])
def test_slices_with_left_and_right_in_them_are_not_turned_around(data, orientation, bound):
    """Half a turn is a mirroring along both axes, in which classes would not change places."""
    plan = planned(PAIRED, *data, orientation, "2d")
    assert degrees(plan, "2d") == bound
    assert plan.mirrored_classes == MirroredClasses(2 if data is AXIAL else 0, KIDNEYS)
    assert degrees(planned(PLAIN, *data, orientation, "2d"), "2d") is None
