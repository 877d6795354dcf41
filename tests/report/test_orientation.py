"""Images are turned as radiologists hang them, whatever way their files store them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from autoseg.geometry import Geometry
from autoseg.report.orientation import radiological

CODES = [a + b + c for x, y, z in [("LR", "PA", "SI")] for a in x for b in y for c in z]
ORDERS = ["LPS", "SLP", "PSL", "RAI", "AIR", "IRA", "LSP", "SPL", "PLS", "RIA", "IAR", "ARI", *CODES]


@pytest.mark.parametrize("code", ORDERS)
def test_it_agrees_with_simpleitk(code):
    array = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 2.0, 3.0))
    image = sitk.DICOMOrient(image, code)
    geometry = Geometry.from_itk(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    view = radiological(geometry)
    np.testing.assert_array_equal(view.turned(sitk.GetArrayFromImage(image)), array)
    assert view.spacing == (3.0, 2.0, 1.0)


@settings(deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_a_little_obliqueness_turns_nothing(degrees):
    matrix = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    geometry = Geometry((4, 5, 6), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(map(float, matrix.ravel())))
    view = radiological(geometry)
    assert view.axes == (0, 1, 2) and view.flipped == (False, False, False)


def test_a_picture_of_two_dimensions_stays_as_it_is():
    geometry = Geometry((1, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0), (-1.0, 0.0, 0.0, 1.0), dimension=2)
    assert radiological(geometry).flipped == (False, False, False)
