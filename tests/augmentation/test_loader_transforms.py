from __future__ import annotations

import random

import numpy as np
import pytest

from autoseg.augmentation.loader_transforms import build_loader_transform, build_transform
from autoseg.augmentation.settings import settings_from
from autoseg.errors import PlanError

STRONG = settings_from({"name": "strong"}).loader


def always(spec):
    return {**spec, **{key: 1.0 for key in ("p_per_sample", "p_per_channel") if key in spec}}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("shape", [(10, 14, 12), (20, 16), (4, 12, 12)])
@pytest.mark.parametrize("spec", STRONG, ids=lambda spec: spec["name"])
def test_strong_transforms_are_functions_of_their_generator(spec, shape):
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    labels = np.zeros(shape, dtype=np.int16)
    transform = build_loader_transform([always(spec)], shape)
    first, target = transform(image, labels, np.random.default_rng(7))
    again, _ = transform(image, labels, np.random.default_rng(7))
    assert first.shape == image.shape and first.dtype == np.float32 and target.dtype == np.int16
    assert np.array_equal(first, again)
    assert not np.array_equal(first, image)


def test_global_generators_are_left_as_they_were():
    np.random.seed(3)
    random.seed(3)
    expected = np.random.uniform(), random.random()
    np.random.seed(3)
    random.seed(3)
    image = np.zeros((1, 8, 8, 8), dtype=np.float32)
    build_loader_transform(STRONG[:1], (8, 8, 8))(image, image[0].astype(np.int16), np.random.default_rng(0))
    assert (np.random.uniform(), random.random()) == expected


def test_any_transform_may_be_named():
    assert type(build_transform({"name": "GammaTransform", "gamma_range": [0.5, 2]})).__name__ == "GammaTransform"


def test_unknown_names_and_arguments():
    with pytest.raises(PlanError, match="found 'GamaTransform', expected a transform such as GammaTransform"):
        build_transform({"name": "GamaTransform"})
    with pytest.raises(PlanError, match="it takes: noise_variance"):
        build_transform({"name": "RicianNoiseTransform", "sigma": 1})


def test_transforms_that_change_the_shape_are_refused():
    image = np.zeros((1, 8, 8, 8), dtype=np.float32)
    crop = build_loader_transform([{"name": "CenterCropTransform", "crop_size": [4, 4, 4]}], (8, 8, 8))
    with pytest.raises(PlanError, match="expected the same shape"):
        crop(image, image[0].astype(np.int16), np.random.default_rng(0))
