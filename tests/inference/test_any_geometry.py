"""However an image lies in space, it is predicted as the training images lay, and its label map lies where it does."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.images.orientation import direction_of, reorientation_between
from autoseg.images.volumes import read_geometry, read_labels, read_volume, write_labels
from autoseg.postprocessing import PredictedCase
from autoseg.postprocessing.decoding import Argmax, DiceOptimal
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord

DATASET = Dataset("made", ("MR",), {"background": 0, "bright": 7}, ".nii.gz", ())
PLACE_BYTES = [*range(76, 108), 123, *range(252, 328)]
"""Of a NIfTI header: spacing, units, codes, quaternion, offset and sform."""


class FirstHalf(nn.Module):
    """Calls the first class in the first half of the patch along x, whatever the image."""

    divisor = (1, 1, 1)

    def forward(self, image):
        ramp = torch.linspace(1, -1, image.shape[-1]).expand_as(image)
        return [torch.cat([-ramp, ramp], dim=1)]


def random_image(rng, path):
    """Write an image of random place, direction (turned, flipped, its axes in any order) and size."""
    array = rng.normal(size=rng.integers(2, 12, 3)).astype(np.float32)
    array[array == 0] = 1
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(rng.uniform(0.3, 6, 3))
    made.SetOrigin(rng.uniform(-500, 500, 3))
    turned = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix() if rng.random() < 0.7 else np.eye(3)
    # Adding 0 makes -0, which MetaImage reads as 0, plain.
    made.SetDirection((turned[:, rng.permutation(3)] * rng.choice([-1, 1], 3) + 0.0).ravel())
    sitk.WriteImage(made, str(path))
    if path.name.endswith((".nii", ".nii.gz")):
        choose_codes(path, *rng.choice([(1, 1), (1, 0), (0, 1), (2, 4), (1, 3)]))
    return array


def choose_codes(path, qform, sform):
    """Say in a NIfTI header which of its two matrices holds, as other programs do."""
    is_compressed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if is_compressed else path.read_bytes())
    struct.pack_into("<2h", content, 252, qform, sform)
    path.write_bytes(gzip.compress(content) if is_compressed else content)


@pytest.mark.parametrize("seed", range(200))
def test_a_threshold_gives_the_mask_of_the_input_in_its_header(make_predictor, threshold, tmp_path, seed):
    rng = np.random.default_rng(seed)
    ending = (".nii.gz", ".nii", ".nrrd", ".mha")[seed % 4]
    source, written = tmp_path / f"image{ending}", tmp_path / f"labels{ending}"
    array = random_image(rng, source)
    volume = read_volume([source])
    orientation = ("SPL", "SAR", "LIP", None)[rng.integers(4)]
    reorientation = reorientation_between(volume.geometry.orientation, orientation or volume.geometry.orientation)
    transpose = tuple(int(n) for n in rng.permutation(3))
    spacing = tuple(volume.geometry.spacing[axis] for axis in reorientation.then(transpose).axes)
    predictor = make_predictor(threshold(), DATASET, spacing=spacing, transpose=transpose, orientation=orientation)
    labels = predictor.predict(volume)
    write_labels(written, labels, volume.geometry, like=source)
    again, geometry = read_labels(written)
    assert np.array_equal(again, np.where(array > 0, 7, 0))
    assert geometry == volume.geometry
    assert placed(written) == placed(source)


def placed(path):
    """What a file's header says of where it lies, as it stands there."""
    if path.name.endswith((".nii", ".nii.gz")):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return bytes(content[i] for i in PLACE_BYTES)
    header = path.read_bytes()[:2000].split(b"\n")
    keys = (b"space", b"TransformMatrix", b"Offset", b"ElementSpacing", b"CenterOfRotation", b"AnatomicalOrientation")
    lines = [line for line in header if line.startswith(keys)]
    assert len(lines) >= 3
    return lines


@pytest.mark.parametrize("code", ["SPL", "SAR", "IPR", "LSP", "PRS", "RAI"])
def test_a_network_sees_the_body_as_in_training_however_the_file_stores_it(make_predictor, tmp_path, code):
    """A network that marks what is towards the patient's right marks it in a file of any orientation."""
    array = np.ones((5, 6, 8), dtype=np.float32)
    upright = sitk.GetImageFromArray(array)
    stored = sitk.DICOMOrient(upright, code[::-1])
    sitk.WriteImage(stored, str(tmp_path / "image.nii.gz"))
    volume = read_volume([tmp_path / "image.nii.gz"])
    labels = make_predictor(FirstHalf(), DATASET, patch=(5, 6, 8)).predict(volume)
    write_labels(tmp_path / "labels.nii.gz", labels, volume.geometry, like=tmp_path / "image.nii.gz")
    back = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "labels.nii.gz")), "LPS"))
    assert (back[..., :4] == 7).all() and not back[..., 4:].any()
    assert read_geometry(tmp_path / "labels.nii.gz") == volume.geometry


def test_arrays_without_a_file_are_taken_as_the_training_images_were(make_predictor):
    predictor = make_predictor(FirstHalf(), DATASET, patch=(5, 6, 8), orientation="SAR")
    found = predictor.predict_array(np.ones((1, 5, 6, 8)), spacing=(1, 1, 1))
    assert (found[..., :4] == 7).all() and not found[..., 4:].any()


@pytest.mark.parametrize("decoder", [Argmax, DiceOptimal])
@pytest.mark.parametrize("orientation", ["SPL", "IAR", "LSP", "ARS"])
def test_every_decoder_turns_its_labels_back(decoder, orientation):
    """Scores that are certain of labels give these labels on the file's grid, flipped axes and all."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (4, 5, 6))
    reorientation = reorientation_between(orientation, "SPL").then((1, 0, 2))
    seen = reorientation.apply(labels)
    geometry = Geometry((4, 5, 6), (1.0,) * 3, (0.0,) * 3, direction_of(orientation))
    preprocessing = PreprocessingRecord(
        geometry, Box((0, 0, 0), (4, 5, 6)), reorientation.axes, seen.shape, seen.shape, None, reorientation.flips
    )
    certain = np.stack([seen == 0, seen == 1]).astype(np.float32)
    case = PredictedCase([Scores(certain, preprocessing)], DATASET)
    assert np.array_equal(decoder(DATASET)(case, np.zeros((0, 0, 0), np.uint8)), labels * 7)
