"""Metrics on labels of real patients: two raters held against SimpleITK, odd masks, and 117 classes in one pass."""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.evaluation.comparison import ALL_CLASSES, compare
from autoseg.evaluation.folder import evaluate_folder
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.surface import surface_voxels
from autoseg.images.volumes import read_labels, write_labels
from autoseg.system.execution import local_executor

pytestmark = pytest.mark.real_data

PATIENT = "0522c0057"


def itk(mask, spacing):
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    return image


def overlap_by_itk(masks):
    measured = sitk.LabelOverlapMeasuresImageFilter()
    measured.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks))
    return measured


def distances_by_itk(masks, spacing):
    """Directed distances between the surfaces of two masks, and their Hausdorff distance."""
    # SimpleITK measures between all voxels of two masks, so it gets the surfaces.
    images = [itk(surface_voxels(mask), spacing) for mask in masks]
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    directed = []
    for start, goal in (images, images[::-1]):
        to_goal = sitk.GetArrayFromImage(
            sitk.SignedMaurerDistanceMap(goal, squaredDistance=False, useImageSpacing=True)
        )
        directed.append(np.maximum(to_goal[sitk.GetArrayFromImage(start) > 0], 0))
    return directed, hausdorff.GetHausdorffDistance()


@pytest.mark.parametrize("organ", ["Brainstem", "Mandible", "Optic-Nerve-Lt", "Parotid-Rt", "Lens-Lt"])
def test_two_raters_as_simpleitk_measures_them(real_data, organ):
    folder = real_data / "hn_two_raters_labels"
    reference, geometry = read_labels(folder / "labels_oncologist" / PATIENT / f"{organ}.nrrd")
    prediction, _ = read_labels(folder / "labels_radiographer" / PATIENT / f"{organ}.nrrd")
    metrics = evaluate_case(prediction, reference, spacing=geometry.spacing, classes={"organ": (1,)})["organ"]
    either = np.argwhere(prediction | reference)
    box = tuple(slice(low - 1, high + 2) for low, high in zip(either.min(axis=0), either.max(axis=0), strict=True))
    masks = prediction[box], reference[box]
    directed, hausdorff = distances_by_itk(masks, geometry.spacing)
    overlap = overlap_by_itk(masks)
    assert metrics.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert metrics.iou == pytest.approx(overlap.GetJaccardCoefficient())
    assert metrics.specificity == pytest.approx(1 - metrics.false_positives / (reference == 0).sum())
    assert metrics.hd == pytest.approx(hausdorff, rel=1e-5)
    assert metrics.hd95 == pytest.approx(max(np.percentile(distances, 95) for distances in directed), rel=1e-5)
    assert metrics.assd == pytest.approx(np.concatenate(directed).mean(), rel=1e-5)
    assert metrics.mcc == pytest.approx(np.corrcoef(prediction.ravel() > 0, reference.ravel() > 0)[0, 1], abs=1e-6)
    # Experts agree on most of a surface within 2 mm, which is why that is the default (Nikolov et al. 2018).
    assert 0.75 < metrics.nsd <= 1


def test_raters_of_two_patients_are_compared(real_data):
    folder = real_data / "hn_two_raters_labels"
    summaries = [
        evaluate_folder(
            folder / "labels_radiographer" / patient, folder / "labels_oncologist" / patient, executor=local_executor(2)
        )
        for patient in (PATIENT, "0522c0161")
    ]
    comparison = compare(*summaries, metrics=("dice", "nsd", "hd95"))
    organs = set(summaries[0].cases) & set(summaries[1].cases)
    assert {len(row.pairs.cases) for row in comparison.rows} == {len(organs)}
    assert ALL_CLASSES not in {row.pairs.name for row in comparison.rows}


@pytest.mark.parametrize("image", ["uninformative", "uninformative_slice"])
@pytest.mark.parametrize("first", ["empty", "full", "one_voxel", "disconnected"])
@pytest.mark.parametrize("second", ["empty", "full", "one_voxel", "disconnected"])
def test_odd_masks(real_data, image, first, second):
    folder = real_data / "odd" / "mirp_odd" / "labels"
    paths = [folder / f"{image}__{name}_mask.nii.gz" for name in (first, second)]
    (prediction, geometry), (reference, _) = (read_labels(path) for path in paths)
    metrics = evaluate_case(prediction, reference, spacing=geometry.spacing, classes={"it": (1,)})["it"]
    empty = {first, second} == {"empty"}
    if empty:
        assert all(math.isnan(value) for value in (metrics.dice, metrics.nsd, metrics.hd, metrics.mcc))
    elif "empty" in {first, second}:
        assert metrics.dice == metrics.nsd == metrics.mcc == 0
        assert math.isnan(metrics.hd)
    else:
        assert (metrics.dice == 1) == (metrics.hd == 0) == (first == second)
        assert math.isfinite(metrics.assd) and 0 <= metrics.nsd <= 1
        assert metrics.dice == pytest.approx(overlap_by_itk((prediction, reference)).GetDiceCoefficient())


def test_117_classes_are_counted_in_one_pass(real_data):
    labels, geometry = read_labels(real_data / "odd" / "totalseg_ct" / "labels" / "example_ct_sm.nii.gz")
    classes = {f"class_{value}": (value,) for value in range(1, 118)}
    prediction = np.roll(labels, (1, 1), axis=(1, 2))
    started = perf_counter()
    measured = evaluate_case(prediction, labels, spacing=geometry.spacing, classes=classes)
    assert perf_counter() - started < 5, "it takes 0.2 s on a core that is not busy"
    present = set(np.unique(labels)) - {0}
    for value in range(1, 118):
        metrics = measured[f"class_{value}"]
        if value not in present:
            assert math.isnan(metrics.dice) and math.isnan(metrics.nsd)
            continue
        masks = prediction == value, labels == value
        assert metrics.true_positives == (masks[0] & masks[1]).sum()
        assert metrics.dice == pytest.approx(2 * metrics.true_positives / (masks[0].sum() + masks[1].sum()))


def test_large_sparse_values_and_anisotropy(real_data, tmp_path):
    for folder in (real_data / "odd" / "tptbox_spine" / "labels", real_data / "odd" / "pyradiomics" / "labels"):
        moved = tmp_path / folder.parent.name
        for path in sorted(folder.iterdir()):
            labels, geometry = read_labels(path)
            write_labels(moved / path.name, np.roll(labels, 1, axis=2), geometry)
        summary = evaluate_folder(moved, folder)
        for classes in summary.cases.values():
            for metrics in classes.values():
                assert math.isnan(metrics.dice) or (0 <= metrics.dice < 1 and metrics.assd > 0)
        assert 0.5 < summary.mean_dice < 1
