from __future__ import annotations

import numpy as np
import pytest

from autoseg.images.volumes import read_labels, read_volume
from autoseg.previews.overlay import write_overlay


@pytest.fixture(scope="module")
def case(made_once):
    folder = made_once / "phantoms"
    volume = read_volume(sorted((folder / "imagesTs").glob("phantom_006_*")))
    return volume, read_labels(folder / "labelsTs" / "phantom_006.nii.gz")[0]


def draw(path, case, prediction, reference):
    write_overlay(path, case[0], prediction, reference, title="phantom")
    assert path.read_bytes()[:4] == b"\x89PNG"
    return path.read_bytes()


def test_prediction_and_reference_are_both_drawn(case, tmp_path):
    labels = case[1]
    moved = np.roll(labels, 2, axis=2)
    alone = draw(tmp_path / "alone.png", case, labels, None)
    both = draw(tmp_path / "both.png", case, labels, moved)
    assert alone != both


@pytest.mark.parametrize("reference", ["none", "empty", "full"])
def test_an_empty_prediction_is_no_fault(case, tmp_path, reference):
    labels = case[1]
    given = {"none": None, "empty": np.zeros_like(labels), "full": labels}[reference]
    draw(tmp_path / "empty.png", case, np.zeros_like(labels), given)


def test_a_single_slice_can_be_drawn(case, tmp_path):
    from autoseg.images.geometry import Volume
    from autoseg.inference.predictor import plain_geometry

    labels = case[1][3:4]
    volume = Volume(case[0].array[:, 3:4], plain_geometry(labels.shape, (1.0, 1.0, 1.0)))
    draw(tmp_path / "slice.png", (volume, labels), labels, labels)


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


def test_classes_are_drawn_in_their_colours_and_names_may_be_anything(case, tmp_path):
    from matplotlib.colors import to_rgb

    from autoseg.previews.overlay import colour

    volume, labels = case
    path = tmp_path / "named.png"
    names = {"_body $x_1$ <b>": (1,), "\u6838\n\\frac{": (2,), "missing_channels": (9,)}
    write_overlay(path, volume, labels, labels, title="$\\frac{1}{ \u6838", classes=names)
    drawn = pixels(path)[..., :3]
    seen = [bool((np.abs(drawn - to_rgb(colour(number))).max(axis=2) < 0.05).any()) for number in range(3)]
    assert seen == [True, True, False]


def test_left_and_right_do_not_depend_on_how_the_file_is_stored(case, tmp_path):
    import SimpleITK as sitk

    from autoseg.images.geometry import Geometry, Volume

    array, labels = case[0].array, case[1]
    pictures = []
    for code in ("LPS", "RAI", "SRP"):
        turned = []
        for stored in (array[0], labels):
            image = sitk.GetImageFromArray(stored)
            image.SetSpacing((1.0, 1.0, 3.5))
            image = sitk.DICOMOrient(image, code)
            turned.append(sitk.GetArrayFromImage(image))
        geometry = Geometry.from_itk(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        path = tmp_path / f"{code}.png"
        write_overlay(path, Volume(turned[0][None], geometry), turned[1], None, title="one patient")
        pictures.append(pixels(path))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_an_image_of_two_dimensions_is_one_plane(tmp_path):
    from autoseg.images.geometry import Geometry, Volume

    geometry = Geometry((1, 30, 40), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), dimension=2)
    labels = np.zeros((1, 30, 40), np.uint8)
    labels[0, 10:20, 10:30] = 1
    path = tmp_path / "flat.png"
    write_overlay(path, Volume(labels[None].astype(np.float32), geometry), labels, labels, title="flat")
    height, width = pixels(path).shape[:2]
    assert width < 1.5 * height
