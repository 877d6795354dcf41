"""What folders of images that are unlike those of training get: a warning, or a reason, while other cases are done."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

import autoseg
from autoseg.cli.main import main
from autoseg.data.dataset import Dataset
from autoseg.errors import ImageError, PlanError
from autoseg.images.geometry import Geometry
from autoseg.images.orientation import direction_of
from autoseg.images.volumes import read_labels
from autoseg.inference.predictor import Predictor
from autoseg.inference.suitability import check_suitability

MR = Dataset("made", ("MR",), {"background": 0, "bright": 1}, ".nii.gz", ())
COLOURS = replace(MR, channels=("R", "G", "B"), file_ending=".png")


def image(path, shape=(8, 9, 10), spacing=(1.0, 1.0, 1.0), seed=0):
    made = sitk.GetImageFromArray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
    made.SetSpacing(spacing)
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(made, str(path))


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Put a predictor in place of a workspace; return what predicts the folder ``in`` with it."""

    def install(predictor):
        monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, *_, **__: predictor))
        return lambda **options: autoseg.predict_folder(tmp_path / "w", tmp_path / "in", tmp_path / "out", **options)

    return install


@pytest.fixture
def predict(use, make_predictor, threshold):
    """Predict the folder ``in`` with a 3D network of one channel."""
    return use(make_predictor(threshold(), MR))


def test_a_single_slice_is_nothing_for_a_3d_network(predict, tmp_path):
    image(tmp_path / "in" / "flat.nii.gz", shape=(1, 9, 10))
    image(tmp_path / "in" / "good.nii.gz")
    image(tmp_path / "in" / "two_axes.mha", shape=(9, 10))
    result = predict()
    assert result.done == ("good",)
    assert "flat.nii.gz: found a single slice, 1×9×10 voxels, expected a volume of about 8×8×8" in result.failed["flat"]
    assert "found a single slice" in result.failed["two_axes"]


def test_slices_across_those_of_training_are_nothing_for_a_2d_network(make_predictor, threshold):
    predictor = make_predictor(threshold(axes=2), MR, patch=(6, 6))
    stages = [predictor.stages[0].configuration]
    axial, sagittal = (
        Geometry((1, 9, 10), (1.0,) * 3, (0.0,) * 3, direction_of(orientation)) for orientation in ("SPL", "LSP")
    )
    assert check_suitability(axial, predictor.plan, stages) == []
    with pytest.raises(ImageError, match=r"found 9×10×1 voxels along the plan's axes, .* in another plane"):
        check_suitability(sagittal, predictor.plan, stages)


def test_volumes_for_a_network_of_single_slices_are_warned_of(make_predictor, threshold):
    predictor = make_predictor(threshold(axes=2), MR, patch=(6, 6))
    configuration = replace(predictor.stages[0].configuration, median_shape=(1, 8, 8))
    volume = Geometry((4, 9, 10), (1.0,) * 3, (0.0,) * 3, direction_of("SPL"))
    (warning,) = check_suitability(volume, predictor.plan, [configuration])
    assert warning == "found 4 slices, the training images have one; each slice is predicted separately"


@pytest.mark.parametrize(("spacing", "warned"), [((1, 1, 1), 0), ((2.9, 1, 1), 0), ((10, 1, 1), 1), ((1, 0.1, 1), 1)])
def test_other_spacings_are_warned_of_with_both(predict, tmp_path, caplog, spacing, warned):
    image(tmp_path / "in" / "case.nii.gz", spacing=spacing[::-1])
    with caplog.at_level(logging.WARNING, "autoseg"):
        predict()
    said = [record.getMessage() for record in caplog.records if "spacing" in record.getMessage()]
    assert len(said) == warned
    if warned:
        shown = "×".join(f"{s:g}" for s in spacing)
        assert said[0].startswith(f"case case: spacing {shown} mm, trained at 1×1×1 mm: more than 3 times")


def test_missing_and_odd_channels_are_named(make_predictor, threshold, use, tmp_path):
    three = replace(MR, channels=("T1", "T2", "FLAIR"))
    for name, numbers in {"good": (0, 1, 2), "gap": (0, 2), "shifted": (1, 2, 3), "few": (0, 1)}.items():
        for number in numbers:
            image(tmp_path / "in" / f"{name}_{number:04d}.nii.gz")
    result = use(make_predictor(threshold(), three))()
    assert result.done == ("good",)
    assert (
        "found channels _0000, _0002, expected 3 (T1, T2, FLAIR), numbered from _0000: _0001 (T2) missing"
        in (result.failed["gap"])
    )
    assert ": _0000 (T1) missing" in result.failed["shifted"]
    assert "found 2 channels, expected 3 (T1, T2, FLAIR)" in result.failed["few"]


def test_label_maps_have_their_images_format(predict, tmp_path):
    endings = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
    for ending in endings:
        image(tmp_path / "in" / f"case{ending[1:4]}{len(ending)}{ending}")
    predict()
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name.split(".", 1)[1] for name in found if name.startswith("case") and "raw" not in name] == [
        "mha",
        "mhd",
        "nii",
        "nii.gz",
        "nrrd",
    ]


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_another_format_may_be_asked_for(predict, tmp_path, ending):
    image(tmp_path / "in" / "case.nii", spacing=(1.0, 1.0, 1.1))
    predict(label_format=ending)
    assert read_labels(tmp_path / "out" / f"case.{ending}")[0].shape == (8, 9, 10)


def test_formats_that_do_not_suit(predict, tmp_path):
    image(tmp_path / "in" / "case.nii")
    with pytest.raises(PlanError, match=r"format: found 'jpg', expected one of nii.gz"):
        predict(label_format="jpg")
    with pytest.raises(PlanError, match=r"--format dicom-seg: is for DICOM series"):
        predict(label_format="dicom-seg")
    assert "found 8 slices, expected one for a picture" in predict(label_format="png").failed["case"]


def test_pictures_are_predicted_in_their_own_format(make_predictor, threshold, use, tmp_path):
    (tmp_path / "in").mkdir()
    array = np.random.default_rng(0).integers(0, 2, (20, 30, 3)).astype(np.uint8)
    array[..., 1] = 9
    Image.fromarray(array).save(tmp_path / "in" / "a.png")
    Image.fromarray(array).convert("RGBA").save(tmp_path / "in" / "b.tif")
    Image.fromarray(array).save(tmp_path / "in" / "c.bmp")
    Image.fromarray(array[..., 0]).save(tmp_path / "in" / "grey.png")
    predictor = make_predictor(threshold(axes=2), COLOURS, patch=(8, 8))
    result = use(predictor)()
    assert result.done == ("a", "b", "c")
    assert "grey.png: found 1 channels, expected 3" in result.failed["grey"]
    for name in ("a.png", "b.tif", "c.png"):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name)), array[..., 0])


@pytest.mark.usefixtures("predict")
def test_the_exit_status_says_that_a_case_failed(tmp_path, capfd):
    image(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(SystemExit) as exit_:
            main(["predict-folder", str(tmp_path / "w"), str(tmp_path / "in"), str(tmp_path / "out")])
        assert exit_.value.code == 1
        said = capfd.readouterr()
        assert "bad.nii.gz: not an image" in said.out + said.err
    assert (tmp_path / "out" / "good.nii.gz").exists()
