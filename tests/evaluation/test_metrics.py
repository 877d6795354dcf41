"""Overlap, volumes and surface distances of made label maps, held against SimpleITK and hand-made numbers."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import ImageError
from autoseg.evaluation.metrics import evaluate_case

SPACING = (2.5, 0.8, 1.1)
ORGANS = {"liver": (1,), "kidney": (2,), "tumour": (3,)}

quick = settings(max_examples=40)
shapes = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
seeds = st.integers(0, 2**32 - 1)


def random_labels(shape=(9, 12, 10), seed=0, count=4):
    return np.random.default_rng(seed).integers(0, count, shape, dtype=np.uint8)


def box(corner, size, shape=(8, 8, 8), value=1):
    labels = np.zeros(shape, dtype=np.uint8)
    labels[tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))] = value
    return labels


def test_a_block_shifted_by_one_voxel():
    reference, prediction = box((2, 2, 2), (4, 4, 4)), box((3, 2, 2), (4, 4, 4))
    metrics = evaluate_case(prediction, reference, spacing=(3, 1, 1), classes={"block": (1,)})["block"]
    assert (metrics.true_positives, metrics.false_positives, metrics.false_negatives) == (48, 16, 16)
    assert metrics.dice == metrics.precision == metrics.recall == 0.75
    assert metrics.iou == 48 / 80
    assert metrics.reference_ml == metrics.predicted_ml == pytest.approx(0.192)
    assert metrics.volume_difference == metrics.relative_volume_difference == 0
    # Half the surface of each coincides with the other's; a face of 2×2 lies 3 mm from it, or 1 mm in its own plane.
    assert metrics.hd95 == 3
    assert 0 < metrics.assd < 1.5


def test_volumes_are_predicted_minus_reference():
    metrics = evaluate_case(box((0, 0, 0), (2, 2, 3)), box((0, 0, 0), (2, 2, 2)), spacing=SPACING, classes={"a": (1,)})[
        "a"
    ]
    assert metrics.volume_difference == pytest.approx(4 * np.prod(SPACING))
    assert metrics.relative_volume_difference == 0.5


def test_overlap_equals_simpleitk():
    reference, prediction = random_labels(seed=1), random_labels(seed=2)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.GetImageFromArray(prediction), sitk.GetImageFromArray(reference))
    for name, metrics in evaluate_case(prediction, reference, spacing=SPACING, classes=ORGANS).items():
        (value,) = ORGANS[name]
        assert metrics.dice == pytest.approx(overlap.GetDiceCoefficient(value))
        assert metrics.iou == pytest.approx(overlap.GetJaccardCoefficient(value))
        assert 1 - metrics.recall == pytest.approx(overlap.GetFalseNegativeError(value))
        assert 1 - metrics.precision == pytest.approx(overlap.GetFalseDiscoveryRate(value))


def test_a_class_in_neither_map_has_no_metrics_but_volumes():
    empty = np.zeros((4, 4, 4), dtype=np.int16)
    metrics = evaluate_case(empty, empty, spacing=SPACING, classes={"a": (1,)})["a"]
    undefined = (metrics.dice, metrics.iou, metrics.precision, metrics.recall, metrics.hd95, metrics.assd)
    assert all(math.isnan(value) for value in (*undefined, metrics.relative_volume_difference))
    assert metrics.reference_ml == metrics.predicted_ml == metrics.volume_difference == 0


def test_a_class_that_is_missed_scores_zero_without_distances():
    block, empty = box((1, 1, 1), (2, 2, 2)), np.zeros((8, 8, 8), dtype=np.uint8)
    missed = evaluate_case(empty, block, spacing=SPACING, classes={"a": (1,)})["a"]
    assert missed.dice == missed.iou == missed.recall == 0
    assert missed.relative_volume_difference == -1
    assert all(math.isnan(value) for value in (missed.precision, missed.hd95, missed.assd))
    invented = evaluate_case(block, empty, spacing=SPACING, classes={"a": (1,)})["a"]
    assert invented.dice == invented.precision == 0
    assert all(math.isnan(value) for value in (invented.recall, invented.hd95, invented.relative_volume_difference))


def test_label_values_may_be_any_integers_and_others_are_left_out():
    reference, prediction = random_labels(seed=3), random_labels(seed=4)
    other_values = np.array([70000, -7, 0, 999], dtype=np.int32)
    plain = evaluate_case(prediction, reference, spacing=SPACING, classes={"a": (1,), "b": (2,)})
    exchanged = evaluate_case(
        other_values[prediction], other_values[reference], spacing=SPACING, classes={"a": (-7,), "b": (0,)}
    )
    assert plain == exchanged


def test_an_image_of_one_slice_has_its_surface_in_the_plane():
    reference, prediction = box((0, 1, 1), (1, 8, 8), (1, 12, 12)), box((0, 3, 3), (1, 4, 4), (1, 12, 12))
    metrics = evaluate_case(prediction, reference, spacing=(999, 1, 1), classes={"a": (1,)})["a"]
    # The inner square's edge is 2 from the outer's; were all voxels surface, the inner ones would be at distance 0.
    assert metrics.hd95 == pytest.approx(math.sqrt(8), abs=0.7)
    assert metrics.assd > 1.9


@given(shapes, seeds)
@quick
def test_a_perfect_prediction_is_perfect(shape, seed):
    labels = random_labels(shape, seed)
    for name, metrics in evaluate_case(labels, labels, spacing=SPACING, classes=ORGANS).items():
        if np.isin(labels, ORGANS[name]).any():
            assert astuple(metrics)[:8] == (1, 1, 1, 1, 0, 0, 0, 0)


@given(shapes, seeds, seeds)
@quick
def test_exchanging_prediction_and_reference_exchanges_what_it_should(shape, one_seed, other_seed):
    one, other = random_labels(shape, one_seed), random_labels(shape, other_seed)
    forward = evaluate_case(one, other, spacing=SPACING, classes=ORGANS)
    for name, back in evaluate_case(other, one, spacing=SPACING, classes=ORGANS).items():
        there = forward[name]
        assert there.dice == pytest.approx(back.dice, nan_ok=True)
        assert there.precision == pytest.approx(back.recall, nan_ok=True)
        assert there.hd95 == pytest.approx(back.hd95, nan_ok=True)
        assert there.assd == pytest.approx(back.assd, nan_ok=True)
        assert there.volume_difference == -back.volume_difference


@given(shapes, seeds, seeds)
@quick
def test_dice_and_iou_say_the_same(shape, one_seed, other_seed):
    cases = evaluate_case(
        random_labels(shape, one_seed), random_labels(shape, other_seed), spacing=(1, 1, 1), classes=ORGANS
    )
    for metrics in cases.values():
        assert metrics.dice == pytest.approx(2 * metrics.iou / (1 + metrics.iou), nan_ok=True)


def test_maps_that_do_not_match_are_refused():
    with pytest.raises(ImageError, match=r"found shape \(3, 4, 4\), expected that of the reference, \(4, 4, 4\)"):
        evaluate_case(
            box((0, 0, 0), (1, 1, 1), (3, 4, 4)), box((0, 0, 0), (1, 1, 1), (4, 4, 4)), spacing=SPACING, classes=ORGANS
        )
    with pytest.raises(ImageError, match="reference: found values of type float64"):
        evaluate_case(random_labels(), random_labels().astype(float), spacing=SPACING, classes=ORGANS)
