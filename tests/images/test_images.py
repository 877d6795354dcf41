from __future__ import annotations

import gzip
import resource
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from autoseg.errors import ImageError, WorkspaceError
from autoseg.images.geometry import Geometry
from autoseg.images.nifti import HEADER_BYTES
from autoseg.images.volumes import non_finite_count, read_geometry, read_labels, read_volume, write_labels, write_volume

GEOMETRY_BYTES = [*range(76, 108), 123, *range(252, 328)]
"""Of a NIfTI header: pixdim, units, codes, quaternion, offset and sform."""


def image(path, array=None, *, spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), direction=None):
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5) if array is None else array
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(spacing)
    made.SetOrigin(origin)
    made.SetDirection(np.eye(3).ravel() if direction is None else direction)
    sitk.WriteImage(made, str(path))
    return path


def random_geometry(rng):
    return {
        "spacing": tuple(rng.uniform(0.2, 7, 3)),
        "origin": tuple(rng.uniform(-500, 500, 3)),
        "direction": tuple(Rotation.random(random_state=int(rng.integers(2**31))).as_matrix().ravel()),
    }


@pytest.mark.parametrize("seed", range(60))
def test_label_maps_lie_exactly_where_their_image_does(tmp_path, seed):
    rng = np.random.default_rng(seed)
    ending = (".nii.gz", ".nii", ".nrrd", ".mha")[seed % 4]
    shape = tuple(rng.integers(1, 9, 3))
    source = image(tmp_path / f"image{ending}", rng.normal(size=shape).astype(np.float32), **random_geometry(rng))
    volume = read_volume([source])
    labels = rng.integers(0, 3, shape).astype(np.uint8)
    written = tmp_path / f"labels{ending}"
    write_labels(written, labels, volume.geometry, like=source)
    again, geometry = read_labels(written)
    assert np.array_equal(again, labels)
    assert geometry == volume.geometry
    if ending.startswith(".nii"):
        theirs, ours = (header(path) for path in (source, written))
        assert [theirs[i] for i in GEOMETRY_BYTES] == [ours[i] for i in GEOMETRY_BYTES]


def header(path):
    return (gzip.open(path) if path.name.endswith(".gz") else path.open("rb")).read(HEADER_BYTES)


def test_channels_in_files_and_in_one_file_are_alike(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    files = [image(tmp_path / f"c_{i:04d}.nii.gz", channel) for i, channel in enumerate(array)]
    volume = read_volume(files)
    assert np.array_equal(volume.array, array)
    for ending in (".nrrd", ".mha", ".nii.gz"):
        write_volume(tmp_path / f"all{ending}", array, volume.geometry)
        assert np.array_equal(read_volume([tmp_path / f"all{ending}"]).array, array)


def test_four_axes_are_channels(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(tmp_path / "4d.nii.gz"))
    volume = read_volume([tmp_path / "4d.nii.gz"])
    assert np.array_equal(volume.array, array)
    assert read_geometry(tmp_path / "4d.nii.gz") == volume.geometry


def test_two_dimensions_come_back_as_two(tmp_path):
    source = tmp_path / "slice.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((6, 7), np.float32)), str(source))
    volume = read_volume([source])
    assert volume.array.shape == (1, 1, 6, 7)
    write_labels(tmp_path / "labels.mha", np.zeros((1, 6, 7), np.uint8), volume.geometry)
    assert sitk.ReadImage(str(tmp_path / "labels.mha")).GetDimension() == 2


def test_the_header_is_enough_for_the_geometry(tmp_path):
    path = image(tmp_path / "a.nii.gz", **random_geometry(np.random.default_rng(5)))
    assert read_geometry(path) == read_volume([path]).geometry


@pytest.mark.parametrize(("highest", "dtype"), [(3, np.uint8), (300, np.uint16), (70_000, np.int32)])
def test_labels_have_the_smallest_type(tmp_path, highest, dtype):
    geometry = read_geometry(image(tmp_path / "a.nii.gz"))
    write_labels(tmp_path / "l.nii.gz", np.full((3, 4, 5), highest, np.int64), geometry)
    assert read_labels(tmp_path / "l.nii.gz")[0].dtype == dtype


def test_whole_floats_are_labels(tmp_path):
    labels, _ = read_labels(image(tmp_path / "l.nii.gz", np.full((3, 4, 5), 2.0, np.float32)))
    assert labels.dtype == np.uint8 and (labels == 2).all()


@pytest.mark.parametrize(
    ("value", "message"), [(1.5, "found label 1.5"), (-1.0, "found label -1"), (np.nan, "60 voxels are NaN")]
)
def test_other_labels_are_refused(tmp_path, value, message):
    with pytest.raises(ImageError, match=message):
        read_labels(image(tmp_path / "l.nii.gz", np.full((3, 4, 5), value, np.float32)))


def test_channels_must_share_a_grid(tmp_path):
    files = [image(tmp_path / "a_0000.nii.gz"), image(tmp_path / "a_0001.nii.gz", spacing=(1.0, 1.0, 3.0))]
    with pytest.raises(ImageError, match=r"a_0001.nii.gz: .*a_0000.nii.gz: spacing \(2, 1, 1\) and \(3, 1, 1\)"):
        read_volume(files)


@pytest.mark.parametrize(
    ("field", "change"),
    [("size", {"size": (3, 4, 6)}), ("spacing", {"spacing": (1, 1, 1.01)}), ("origin", {"origin": (0, 0, 1.0)})],
)
def test_differences_are_said_in_words(field, change):
    plain = {"size": (3, 4, 5), "spacing": (1, 1, 1), "origin": (0, 0, 0), "direction": tuple(np.eye(3).ravel())}
    differences = Geometry(**plain).differences(Geometry(**{**plain, **change}))
    assert len(differences) == 1 and differences[0].startswith(field)


def test_rounding_is_no_difference():
    plain = {"size": (3, 4, 5), "spacing": (1, 1, 1), "origin": (0, 0, 0), "direction": tuple(np.eye(3).ravel())}
    close = {**plain, "spacing": (1, 1, 1 + 1e-6), "origin": (1e-4, 0, 0)}
    assert Geometry(**plain).differences(Geometry(**close)) == []


def damaged(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "text":
        path.write_text("no image")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "huge":
        plain = bytearray(gzip.decompress(content))
        struct.pack_into("<8h", plain, 40, 3, 4000, 4000, 4000, 1, 1, 1, 1)
        path.write_bytes(gzip.compress(bytes(plain)))
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "truncated or damaged"),
        ("text", "not an image"),
        ("empty", "not an image"),
        ("huge", "truncated or damaged: the header promises 256,000,000,352 bytes"),
    ],
)
def test_damaged_files_are_named(tmp_path, how, message):
    array = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    path = damaged(image(tmp_path / "a.nii.gz", array), how)
    with pytest.raises(ImageError, match=f"a.nii.gz: {message}") as caught:
        read_volume([path])
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_volume([tmp_path / "a.nii.gz"])
    with pytest.raises(ImageError, match="is a folder"):
        read_labels(tmp_path)


def test_nothing_is_left_where_writing_fails(tmp_path):
    (tmp_path / "file").write_text("in the way")
    geometry = read_geometry(image(tmp_path / "a.nii.gz"))
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write_labels(tmp_path / "file" / "l.nii.gz", np.zeros((3, 4, 5), np.uint8), geometry)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "file"]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_non_finite_voxels_are_counted(tmp_path, ending, dtype):
    # ITK reads them from NIfTI files as zeros.
    array = np.zeros((2, 3, 4), dtype)
    path = image(tmp_path / f"a{ending}", array)
    assert non_finite_count(path, read_volume([path]).array) == 0
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    image(path, array)
    assert non_finite_count(path, read_volume([path]).array) == 3


def rewritten(path, *fields):
    """Change fields of the header of a NIfTI file, each an offset, a format and its values."""
    content = bytearray(gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes())
    for offset, kind, *values in fields:
        struct.pack_into(f"<{kind}", content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)) if path.name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_scaled_voxels_are_no_sign_of_a_truncated_file(tmp_path, ending):
    # CT is often stored as int16 with an intercept; ITK speaks of the floating-point numbers that it becomes.
    stored = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    path = rewritten(image(tmp_path / f"ct{ending}", stored), (112, "2f", 2.0, -1024.0))
    assert np.array_equal(read_volume([path]).array[0], stored * 2.0 - 1024.0)


def test_a_header_that_promises_more_than_a_whole_file_holds_is_refused(tmp_path):
    path = rewritten(image(tmp_path / "a.nii.gz"), (46, "h", 6))
    with pytest.raises(ImageError, match=r"a.nii.gz: truncated or damaged"):
        read_volume([path])


@pytest.mark.parametrize("missing", [1, 4, 200, 352])
def test_the_last_bytes_of_a_plain_file_are_missed(tmp_path, missing):
    path = image(tmp_path / "a.nii", np.ones((10, 10, 10), np.float32))
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ImageError, match=r"a.nii: truncated or damaged"):
        read_volume([path])


@pytest.mark.parametrize("spacing", [0.0, np.nan, np.inf])
def test_spacing_that_itk_would_replace_is_refused(tmp_path, spacing):
    path = rewritten(image(tmp_path / "a.nii.gz"), (80, "f", spacing))
    with pytest.raises(ImageError, match=r"a.nii.gz: found spacing"):
        read_geometry(path)


def test_sheared_axes_are_called_so(tmp_path):
    path = rewritten(
        image(tmp_path / "a.nii.gz"), (252, "2h", 0, 1), (280, "12f", 1, 0.3, 0, 5, 0, 1, 0, 6, 0, 0, 2, 7)
    )
    with pytest.raises(ImageError, match="not at right angles"):
        read_volume([path])


def test_complex_images_are_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), np.complex64)), str(tmp_path / "c.nii.gz"))
    with pytest.raises(ImageError, match="complex numbers"):
        read_volume([tmp_path / "c.nii.gz"])


def test_labels_beyond_every_type_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"found label 1e\+20, expected at most 2147483647"):
        read_labels(image(tmp_path / "l.nii.gz", np.full((3, 4, 5), 1e20, np.float32)))


@pytest.fixture
def small_files():
    """Let no file grow beyond 20 kB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("alike", [True, False])
def test_a_full_disk_leaves_no_half_of_a_label_map(tmp_path, small_files, ending, alike):
    source = image(tmp_path / f"source{ending}")
    labels = np.random.default_rng(0).integers(0, 200, (40, 40, 40)).astype(np.uint8)
    geometry = Geometry((40, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write_labels(tmp_path / f"l{ending}", labels, geometry, like=source if alike else None)
    assert [p.name for p in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_a_header_names_the_file_with_the_voxels_as_it_is_called_in_the_end(tmp_path, ending):
    labels = np.ones((3, 4, 5), np.uint8)
    write_labels(tmp_path / f"l{ending}", labels, read_geometry(image(tmp_path / "a.nii.gz")))
    assert {p.name.split(".")[0] for p in tmp_path.iterdir()} == {"a", "l"}
    assert np.array_equal(read_labels(tmp_path / f"l{ending}")[0], labels)


@pytest.mark.real_data
def test_odd_real_files_are_read(real_data):
    files = [p for p in sorted((real_data / "odd").rglob("*")) if p.name.endswith((".nii.gz", ".nrrd"))]
    assert len(files) > 20
    for path in files:
        volume = read_volume([path])
        assert volume.array.shape[1:] == volume.geometry.size
        assert read_geometry(path) == volume.geometry
