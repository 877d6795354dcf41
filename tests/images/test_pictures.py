"""PNG, TIFF, JPEG and BMP: what is read is what other libraries wrote, and label maps come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from autoseg.errors import ImageError
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import read_geometry, read_labels, read_volume, write_labels

HEIGHT, WIDTH = 9, 11
KINDS = (np.uint8, np.uint16)


def pixels(*shape, kind=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def channels_of(path, wanted=None):
    volume = read_volume([path], channels=wanted)
    assert volume.array.dtype == np.float32 and volume.array.flags.c_contiguous
    assert volume.geometry == read_geometry(path)
    assert volume.geometry.size == (1, HEIGHT, WIDTH) and volume.geometry.dimension == 2
    return volume.array[:, 0]


def expected(array):
    return np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [(), (3,), (4,)])
@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff"])
def test_grey_and_colours_of_8_and_16_bits(tmp_path, ending, samples, kind):
    array = pixels(HEIGHT, WIDTH, *samples, kind=kind)
    path = tmp_path / f"image{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=bool(samples)), str(path))
    assert np.array_equal(channels_of(path, wanted=samples[0] if samples else 1), expected(array))


@pytest.mark.parametrize("kind", KINDS)
def test_opacity_is_a_channel_only_where_it_is_counted(tmp_path, kind):
    array = pixels(HEIGHT, WIDTH, 4, kind=kind)
    path = tmp_path / "image.png"
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path))
    tifffile.imwrite(tmp_path / "image.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    for file in (path, tmp_path / "image.tif"):
        assert np.array_equal(channels_of(file, wanted=4), expected(array))
        assert np.array_equal(channels_of(file, wanted=3), expected(array)[:3])
        assert len(channels_of(file)) == 3


def test_grey_that_is_stored_as_colours(tmp_path):
    grey = pixels(HEIGHT, WIDTH)
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("LA").save(tmp_path / "opaque.png")
    for name in ("grey.png", "opaque.png"):
        assert np.array_equal(channels_of(tmp_path / name, wanted=1), grey[None])
    assert len(channels_of(tmp_path / "grey.png", wanted=3)) == 3
    Image.fromarray(pixels(HEIGHT, WIDTH, 3)).save(tmp_path / "colours.png")
    assert len(channels_of(tmp_path / "colours.png", wanted=1)) == 3, "what is not grey is left to be refused"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({"photometric": "minisblack", "planarconfig": "contig"}, True),
        ({"photometric": "minisblack", "planarconfig": "separate"}, False),
        ({"photometric": "minisblack"}, False),
        ({"imagej": True, "metadata": {"axes": "CYX"}}, False),
        ({"ome": True, "metadata": {"axes": "CYX"}}, False),
        ({"photometric": "minisblack", "compression": "zlib"}, False),
    ],
)
@pytest.mark.parametrize("count", [2, 5])
def test_tiffs_of_several_channels_wherever_they_are_stored(tmp_path, count, options, last, kind):
    array = pixels(count, HEIGHT, WIDTH, kind=kind)
    path = tmp_path / ("image.ome.tif" if "ome" in options else "image.tif")
    tifffile.imwrite(path, np.moveaxis(array, 0, -1) if last else array, **options)
    assert np.array_equal(channels_of(path, wanted=count), array)


def test_compressions_that_another_library_decodes(tmp_path):
    array = pixels(HEIGHT, WIDTH, 3)
    Image.fromarray(array).save(tmp_path / "image.tif", compression="tiff_lzw")
    assert np.array_equal(channels_of(tmp_path / "image.tif", wanted=3), expected(array))


def test_pictures_of_other_kinds(tmp_path):
    colours = np.repeat(np.repeat(pixels(2, 2, 3) // 2, 8, axis=0), 8, axis=1)
    for name in ("image.jpg", "image.jpeg", "image.bmp"):
        Image.fromarray(colours).save(tmp_path / name, quality=100, subsampling=0)
        found = read_volume([tmp_path / name], channels=3).array[:, 0]
        np.testing.assert_allclose(found, expected(colours), atol=0 if name.endswith("bmp") else 3)
    palette = Image.fromarray(pixels(HEIGHT, WIDTH) % 3).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(tmp_path / "palette.png")
    assert set(np.unique(channels_of(tmp_path / "palette.png", wanted=3))) <= set(range(10, 100, 10))


def test_dots_per_inch_are_no_spacing(tmp_path):
    for name in ("image.png", "image.tif", "image.jpg"):
        Image.fromarray(pixels(HEIGHT, WIDTH)).save(tmp_path / name, dpi=(72, 300))
        assert read_geometry(tmp_path / name).spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("highest", [1, 255, 256, 65535])
def test_label_maps_come_back(tmp_path, ending, highest):
    labels = np.random.default_rng(0).choice([0, 1, highest], (1, HEIGHT, WIDTH))
    path = tmp_path / f"labels{ending}"
    geometry = Geometry((1, HEIGHT, WIDTH), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), dimension=2)
    write_labels(path, labels, geometry)
    found, again = read_labels(path)
    assert np.array_equal(found, labels) and again == geometry
    assert np.array_equal(np.asarray(Image.open(path)), labels[0]), "grey, with no scaling"


def test_labels_are_the_numbers_of_a_palette_and_of_black_and_white(tmp_path):
    labels = pixels(HEIGHT, WIDTH) % 4
    palette = Image.fromarray(labels)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    palette.save(tmp_path / "palette.png")
    tifffile.imwrite(
        tmp_path / "palette.tif", labels, photometric="palette", colormap=np.zeros((3, 256), dtype=np.uint16)
    )
    for name in ("palette.png", "palette.tif"):
        assert np.array_equal(read_labels(tmp_path / name)[0], labels[None])
    Image.fromarray(labels > 1).save(tmp_path / "mask.png")
    assert np.array_equal(read_labels(tmp_path / "mask.png")[0], (labels > 1)[None])


def refused(call, *said):
    with pytest.raises(ImageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for text in said:
        assert text in str(caught.value)


def test_pictures_that_cannot_be_used(tmp_path):
    refused(lambda: read_volume([tmp_path / "none.png"]), "no such file")
    for name, array in {
        "a.png": pixels(99, 99, 3),
        "a.tif": pixels(99, 99),
        "b.png": pixels(99, 99, kind=np.uint16),
    }.items():
        path = tmp_path / name
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(path))
        path.write_bytes(path.read_bytes()[:2000])
        refused(lambda path=path: read_volume([path]), name, "damaged")
        path.write_bytes(b"something else")
        refused(lambda path=path: read_geometry(path), name, "not an image")
    Image.fromarray(pixels(200, 200)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:9000])
    refused(lambda: read_volume([tmp_path / "a.jpg"]), "truncated or damaged")


def test_stacks_of_slices_are_no_pictures(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(5, HEIGHT, WIDTH), imagej=True, metadata={"axes": "ZYX"})
    refused(lambda: read_volume([tmp_path / "a.tif"]), "found axes Z 5, Y 9, X 11", "store slices", "NIfTI")


def test_label_maps_that_pictures_cannot_hold(tmp_path):
    Image.fromarray(pixels(HEIGHT, WIDTH)).save(tmp_path / "a.jpg")
    refused(lambda: read_labels(tmp_path / "a.jpg"), "JPEG changes values")
    Image.fromarray(pixels(HEIGHT, WIDTH, 3)).save(tmp_path / "a.png")
    refused(lambda: read_labels(tmp_path / "a.png"), "found 3 colours, expected a grey picture")
    thick = Geometry((2, 3, 4), (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()))
    refused(lambda: write_labels(tmp_path / "b.png", np.zeros((2, 3, 4), int), thick), "found 2 slices", "nii.gz")
    flat = Geometry((1, 3, 4), (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()))
    refused(lambda: write_labels(tmp_path / "b.png", np.full((1, 3, 4), 70000), flat), "found the value 70000")
    assert not (tmp_path / "b.png").exists()
