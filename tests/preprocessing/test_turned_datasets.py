"""A dataset is planned and preprocessed alike in whatever orientations its cases are stored."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

import autoseg
from autoseg.plan.files import read_plan
from autoseg.preprocessing.store import open_case

CODES = ("LPS", "RAS", "SLP", "AIR", "PSL", "LPI")
"""As SimpleITK names them, (x, y, z)."""


def reorientation(dataset, codes):
    """Store the images of each case in another orientation, in the same place in the patient."""
    for index, label in enumerate(sorted((dataset / "labelsTr").iterdir())):
        name = label.name.removesuffix(".nii.gz")
        for path in (label, *sorted((dataset / "imagesTr").glob(f"{name}_*"))):
            sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), codes[index % len(codes)]), str(path))


@pytest.fixture
def planned(phantoms, tmp_path):
    """Return what plans and preprocesses the phantoms in given orientations."""

    def run(name, codes):
        dataset = shutil.copytree(phantoms, tmp_path / name)
        reorientation(dataset, codes)
        return autoseg.plan_and_preprocess(
            dataset,
            workspace=tmp_path / f"{name}.autoseg",
            time_budget=3600.0,
            workers=0,
            configurations=["3d_fullres"],
        )

    return run


def test_cases_of_any_orientation_become_the_same_data(planned):
    alike, mixed = planned("alike", ["LPS"]), planned("mixed", ["LPS", *CODES])
    plans = [read_plan(workspace.plan_file) for workspace in (alike, mixed)]
    assert [plan.orientation for plan in plans] == ["SPL", "SPL"]
    assert plans[0].configurations == plans[1].configurations and plans[0].transpose == plans[1].transpose
    for name in ("phantom_000", "phantom_001", "phantom_003", "phantom_005"):
        one, other = (
            open_case(workspace.data(plan, plan.configuration("3d_fullres")), name)
            for workspace, plan in zip((alike, mixed), plans, strict=True)
        )
        np.testing.assert_allclose(other.image[:], one.image[:], atol=1e-4)
        assert np.array_equal(other.labels[:], one.labels[:])
    (told,) = [d for d in plans[1].explanation if d.decision.startswith("images are turned")]
    assert told.decision == "images are turned to SPL" and "2 × SPL" in told.reasons[0]


def test_edited_orientations_are_checked(planned):
    from autoseg.errors import PlanError

    path = planned("alike", ["LPS"]).plan_file
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"orientation": "SPP"}))
    with pytest.raises(
        PlanError, match="field 'orientation', found 'SPP', expected one letter of each of LR, AP and IS"
    ):
        read_plan(path)
