from __future__ import annotations

import pickle
import random

import numpy as np
import pytest

from autoseg.augmentation import build_augmentation, settings_from
from autoseg.augmentation.loader_arguments import FractionOfEdge, OneOf, from_json
from autoseg.augmentation.loader_catalogue import build_transform, transform_classes
from autoseg.augmentation.loader_transforms import build_loader_transform
from autoseg.errors import PlanError
from autoseg.preprocessing.channel_layout import ChannelLayout

STRONG = settings_from({"name": "strong"}).loader

# With numpy 2 and scipy 1.17 each of these works on images in both dimensions.
LONG_TAIL = [
    {"name": "BrightnessMultiplicativeTransform"},
    {"name": "BrightnessTransform", "mu": 0, "sigma": 1},
    {
        "name": "Compose",
        "transforms": [{"name": "GammaTransform"}, {"name": "BrightnessTransform", "mu": 0, "sigma": 1}],
    },
    {"name": "ContrastAugmentationTransform"},
    {"name": "ClipValueRange", "min": -1, "max": 1},
    {"name": "CutOffOutliersTransform", "percentile_lower": 5, "percentile_upper": 95},
    {"name": "GammaTransform", "gamma_range": [0.5, 2]},
    {"name": "GaussianBlurTransform"},
    {"name": "GaussianNoiseTransform"},
    {"name": "LocalContrastTransform", "scale": [5, 9]},
    {"name": "LocalSmoothingTransform", "scale": [5, 9], "kernel_size": [1, 2]},
    {"name": "OneOfTransform", "list_of_transforms": [{"name": "GammaTransform"}, {"name": "GaussianNoiseTransform"}]},
    {"name": "RangeTransform"},
    {"name": "SimulateLowResolutionTransform"},
    {"name": "ZeroMeanUnitVarianceTransform"},
]


def always(spec):
    return {**spec, **{key: 1.0 for key in ("p_per_sample", "p_per_channel") if key in spec}}


def sample(shape, channels=2):
    rng = np.random.default_rng(0)
    return rng.normal(0.1, 1, (channels, *shape)).astype(np.float32), rng.integers(0, 3, shape, dtype=np.int16)


@pytest.mark.parametrize("shape", [(10, 14, 12), (20, 16), (4, 12, 12)])
@pytest.mark.parametrize("spec", [*STRONG, *LONG_TAIL], ids=lambda spec: spec["name"])
def test_a_transform_is_a_function_of_its_generator(spec, shape):
    image, labels = sample(shape)
    before = image.copy()
    transform = build_loader_transform([always(spec)], patch=shape, channels=2)
    first, target = transform(image, labels, np.random.default_rng(7))
    np.random.seed(1)
    again, _ = transform(image, labels, np.random.default_rng(7))
    assert first.shape == image.shape and first.dtype == np.float32
    assert target.dtype == np.int16 and np.array_equal(target, labels)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, image)
    assert np.array_equal(image, before)


def test_global_generators_are_left_as_they_were():
    np.random.seed(3)
    random.seed(3)
    expected = np.random.uniform(), random.random()
    np.random.seed(3)
    random.seed(3)
    image, labels = sample((8, 8, 8))
    build_loader_transform(STRONG[:1], patch=(8, 8, 8), channels=2)(image, labels, np.random.default_rng(0))
    assert (np.random.uniform(), random.random()) == expected


def test_labels_move_with_the_image():
    image, labels = sample((8, 8, 8))
    image[0] = labels
    mirror = build_loader_transform([{"name": "MirrorTransform"}], patch=(8, 8, 8), channels=2)
    for seed in range(5):
        mirrored, target = mirror(image, labels, np.random.default_rng(seed))
        assert np.array_equal(mirrored[0], target)


def test_every_transform_of_batchgenerators_may_be_named():
    names = transform_classes()
    assert {"RndTransform", "ClipValueRange", "SpatialTransform_2", "LocalGammaTransform", "Rot90Transform"} <= set(
        names
    )
    assert not {"AbstractTransform", "LocalTransform", "ColorFunctionExtractor"} & set(names)


def test_ranges_that_json_cannot_hold_as_functions():
    np.random.seed(0)
    edges = [FractionOfEdge((0.5, 1.0))((10, 40), 1) for _ in range(50)]
    assert 20 <= min(edges) < max(edges) <= 40
    either = [OneOf(((-2, -1), (1, 2)))() for _ in range(50)]
    assert all(1 <= abs(n) <= 2 for n in either) and min(either) < 0 < max(either)
    assert from_json({"fraction_of_edge": [0, 1]}) == FractionOfEdge((0.0, 1.0))
    assert from_json([[1, 2], {"one_of": [[0, 1]]}]) == ((1, 2), OneOf(((0.0, 1.0),)))
    with pytest.raises(PlanError, match="expected two numbers, the lower one first"):
        from_json({"fraction_of_edge": [1, 0]})


def test_unknown_names_and_arguments():
    with pytest.raises(PlanError, match="found 'GamaTransform', expected a transform such as GammaTransform"):
        build_transform({"name": "GamaTransform"})
    with pytest.raises(PlanError, match="it takes: noise_variance"):
        build_transform({"name": "RicianNoiseTransform", "sigma": 1})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "CenterCropTransform", "crop_size": [4, 4, 4]}, "expected an array of the same shape"),
        ({"name": "SpatialTransform", "patch_size": [8, 8, 9]}, "returned .* for data"),
        ({"name": "NumpyToTensor"}, "returned Tensor for data"),
        ({"name": "NormalizeTransform", "means": [0, 0], "stds": [0, 0]}, "NaN or infinity"),
        # Draws a shift as an array of one, which numpy 2.4 does not turn into an integer any more.
        ({"name": "RandomShiftTransform", "shift_mu": 0, "shift_sigma": 2}, "'RandomShiftTransform' failed"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_transforms_that_cannot_be_used_are_refused_at_once(spec, message):
    with pytest.raises(PlanError, match=message):
        build_loader_transform([spec], patch=(8, 8, 9), channels=2)


def test_a_failure_names_the_transform_and_the_image():
    quarter_turn = build_loader_transform([{"name": "Rot90Transform", "p_per_sample": 1}], patch=(8, 8, 8), channels=2)
    with pytest.raises(PlanError, match=r"'Rot90Transform' failed on an image of shape \(2, 8, 10, 12\)"):
        for seed in range(20):
            quarter_turn(*sample((8, 10, 12)), np.random.default_rng(seed))


def test_an_augmentation_offers_its_loader_transforms():
    def loader(spec):
        return build_augmentation(
            spec, dimension=2, patch_size=(16, 12), spacing=(1.0, 1.0), mirror_axes=(0, 1), layout=ChannelLayout(2)
        ).loader_transform

    assert loader({"name": "default"}) is None
    own = loader({"name": "none", "loader": [{"name": "ClipValueRange", "min": -1, "max": 1}]})
    clipped, _ = pickle.loads(pickle.dumps(own))(*sample((16, 12)), np.random.default_rng(0))
    assert clipped.min() == -1 and clipped.max() == 1
    assert len(loader({"name": "strong"}).specs) == len(STRONG)
