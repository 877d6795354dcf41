"""What metrics must not depend on, and their values by SimpleITK and on odd masks."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.settings import MetricSettings
from autoseg.evaluation.surface import surface_voxels

SPACING = (2.5, 0.8, 1.1)
CLASSES = {"a": (1,), "b": (2,), "both": (1, 2)}
DISTANCES = ("hd", "hd95", "assd")

quick = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def random_labels(seed, shape=(5, 7, 6)):
    return np.random.default_rng(seed).integers(0, 3, shape, dtype=np.uint8)


def measure(prediction, reference, *, spacing=SPACING, tolerance=1.0):
    return evaluate_case(
        prediction, reference, spacing=spacing, classes=CLASSES, settings=MetricSettings(tolerance=tolerance)
    )


@given(seeds, seeds, st.integers(1, 3))
@quick
def test_padding_changes_only_what_background_does(one, other, width):
    prediction, reference = random_labels(one), random_labels(other)
    padded = measure(np.pad(prediction, width), np.pad(reference, width))
    for name, metrics in measure(prediction, reference).items():
        for metric in ("dice", "iou", "precision", "recall", "nsd", *DISTANCES):
            assert getattr(padded[name], metric) == pytest.approx(getattr(metrics, metric))
        assert padded[name].specificity >= metrics.specificity


@given(seeds, seeds, st.sampled_from([(0,), (1, 2), (0, 1, 2)]))
@quick
def test_flips_change_nothing(one, other, axes):
    prediction, reference = random_labels(one), random_labels(other)
    flipped = measure(np.flip(prediction, axes), np.flip(reference, axes))
    for name, metrics in measure(prediction, reference).items():
        # How marching cubes cuts ambiguous cells into triangles depends on the side it begins from.
        assert astuple(flipped[name]) == pytest.approx(astuple(metrics), abs=0.01)


@given(seeds, seeds)
@quick
def test_the_order_of_the_axes_does_not_matter(one, other):
    prediction, reference = random_labels(one), random_labels(other)
    turned = measure(prediction.transpose(2, 0, 1), reference.transpose(2, 0, 1), spacing=(1.1, 2.5, 0.8))
    for name, metrics in measure(prediction, reference).items():
        assert astuple(turned[name]) == pytest.approx(astuple(metrics), abs=0.01)


@given(seeds, seeds, st.sampled_from([0.1, 3.0, 25.4]))
@quick
def test_distances_scale_with_the_spacing_and_scores_do_not(one, other, factor):
    prediction, reference = random_labels(one), random_labels(other)
    scaled = measure(prediction, reference, spacing=tuple(factor * s for s in SPACING), tolerance=factor)
    for name, metrics in measure(prediction, reference).items():
        for metric in DISTANCES:
            assert getattr(scaled[name], metric) == pytest.approx(factor * getattr(metrics, metric))
        for metric in ("dice", "mcc", "nsd", "specificity"):
            assert getattr(scaled[name], metric) == pytest.approx(getattr(metrics, metric), abs=1e-5)
        assert scaled[name].reference_ml == pytest.approx(factor**3 * metrics.reference_ml)


@given(seeds, seeds)
@quick
def test_symmetric_metrics_are_symmetric_and_distances_in_order(one, other):
    there = measure(random_labels(one), random_labels(other))
    for name, back in measure(random_labels(other), random_labels(one)).items():
        for metric in ("dice", "iou", "accuracy", "mcc", "nsd", *DISTANCES):
            assert getattr(there[name], metric) == pytest.approx(getattr(back, metric))
        assert max(there[name].assd, there[name].hd95) <= there[name].hd


@given(seeds)
@quick
def test_identity_is_perfect(seed):
    labels = random_labels(seed)
    for metrics in measure(labels, labels, tolerance=0.0).values():
        assert (metrics.nsd, metrics.mcc, metrics.specificity, metrics.accuracy) == (1, 1, 1, 1)
        assert (metrics.hd, metrics.hd95, metrics.assd) == (0, 0, 0)


@given(seeds, seeds)
@quick
def test_distances_equal_simpleitks(one, other):
    prediction, reference = random_labels(one), random_labels(other)
    # SimpleITK measures between all voxels of two masks: it gets the surfaces.
    masks = [surface_voxels(labels == 1).astype(np.uint8) for labels in (prediction, reference)]
    images = [sitk.GetImageFromArray(mask) for mask in masks]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    filter_ = sitk.HausdorffDistanceImageFilter()
    filter_.Execute(*images)
    metrics = measure(prediction, reference)["a"]
    assert metrics.hd == pytest.approx(filter_.GetHausdorffDistance(), rel=1e-5)
    directed = []
    for start, goal in (images, images[::-1]):
        distance = sitk.SignedMaurerDistanceMap(goal, squaredDistance=False, useImageSpacing=True)
        inside = sitk.GetArrayFromImage(start) > 0
        directed.append(np.maximum(sitk.GetArrayFromImage(distance)[inside], 0))
    assert metrics.assd == pytest.approx(np.concatenate(directed).mean(), abs=1e-5)


def shapes(name):
    mask = np.zeros((4, 6, 5), dtype=np.uint8)
    if name == "full":
        mask[:] = 1
    elif name == "one voxel":
        mask[0, 5, 2] = 1
    elif name == "disconnected":
        mask[0, 0, 0] = mask[3, 5, 4] = mask[1:3, 2:4, 2] = 1
    return mask


@pytest.mark.parametrize("first", ["full", "one voxel", "disconnected"])
@pytest.mark.parametrize("second", ["full", "one voxel", "disconnected"])
def test_odd_masks_have_numbers(first, second):
    metrics = measure(shapes(first), shapes(second))["a"]
    same = first == second
    assert (metrics.dice == metrics.nsd == 1) == same
    assert (metrics.hd == metrics.assd == 0) == same
    assert all(math.isfinite(getattr(metrics, name)) for name in ("dice", "nsd", *DISTANCES))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (1, 6, 7), (5, 1, 7)])
def test_images_of_few_axes(shape):
    reference = np.ones(shape, dtype=np.uint8)
    perfect = measure(reference, reference)["a"]
    assert (perfect.nsd, perfect.hd) == (1, 0)
    if reference.size > 1:
        prediction = reference.copy()
        prediction[..., -3:] = 0
        shorter = measure(prediction, reference, tolerance=1.0)["a"]
        assert shorter.hd == pytest.approx(3 * 1.1)
        assert 0 < shorter.nsd < 1
