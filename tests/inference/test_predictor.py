from __future__ import annotations

import numpy as np
import pytest

import autoseg
from autoseg.errors import AutosegError, PlanError
from autoseg.images.volumes import read_volume


@pytest.fixture(scope="module")
def predictor(trained_once):
    return autoseg.Predictor.load(trained_once / "workspace", tta="none")


@pytest.fixture(scope="module")
def volume(made_once):
    return read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))


def test_all_that_is_trained_predicts(predictor):
    assert sorted(member.name for member in predictor.members) == ["2d", "3d_fullres"]
    assert all(len(member.networks) == 1 for member in predictor.members)


def test_an_array_gets_labels_and_probabilities_of_its_size(predictor, volume):
    labels, probabilities = predictor.predict_array(volume.array, spacing=volume.geometry.spacing, probabilities=True)
    assert labels.shape == volume.array.shape[1:] and set(np.unique(labels)) <= {0, 1, 2}
    assert probabilities.shape == (3, *labels.shape) and probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities.astype(np.float32).sum(axis=0), 1, atol=4e-3)


def test_prediction_is_repeatable_and_leaves_the_array_alone(predictor, volume):
    given = volume.array.copy()
    first = predictor.predict_array(given, spacing=volume.geometry.spacing)
    assert np.array_equal(first, predictor.predict_array(given, spacing=volume.geometry.spacing))
    assert np.array_equal(given, volume.array)


def test_an_array_may_be_of_any_number_type_and_spacing(predictor, volume):
    array = volume.array.round().astype(np.int16)
    expected = predictor.predict_array(array.astype(np.float32), spacing=(3.0, 0.9, 1.3))
    assert expected.shape == array.shape[1:]
    assert np.array_equal(predictor.predict_array(array, spacing=(3.0, 0.9, 1.3)), expected)


@pytest.mark.parametrize(
    ("change", "spacing", "said"),
    [
        (lambda array: array[0], (1, 1, 1), r"found 3 axes and 3 spacings, expected \[C,Z,Y,X\]"),
        (lambda array: array, (1, 1), r"found 4 axes and 2 spacings"),
        (lambda array: array[:1], (1, 1, 1), r"found 1 channels, expected 2"),
        (lambda array: np.full_like(array, np.nan), (1, 1, 1), r"NaN"),
        (lambda array: array, (1, 0, 1), r"spacing"),
        (lambda array: array, (1, float("nan"), 1), r"spacing"),
        (lambda array: array, (1, -1, 1), r"spacing"),
    ],
)
def test_arrays_that_cannot_be_predicted(predictor, volume, change, spacing, said):
    with pytest.raises(AutosegError, match=said):
        predictor.predict_array(change(volume.array), spacing=spacing)


def test_an_unknown_way_of_mirroring(trained_once):
    with pytest.raises(PlanError, match="tta: found 'both', expected auto, mirror or none"):
        autoseg.Predictor.load(trained_once / "workspace", tta="both")
