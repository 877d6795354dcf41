"""DICOM series made by pydicom."""

from __future__ import annotations

import numpy as np
import pytest

SPACING = (2.5, 0.8, 0.7)
"""Between slices, rows and columns."""


def write_series(
    folder,
    array,
    *,
    directions=((1, 0, 0), (0, 1, 0)),
    spacing=SPACING,
    origin=(-30.0, 20.0, 100.0),
    description="thorax",
    uid=None,
    names=None,
    slope=1.0,
    intercept=-1024.0,
    shear=(0.0, 0.0, 0.0),
    leave_out=(),
    slopes=None,
    **tags,
):
    """Write an int16 array [Z,Y,X] as a CT series, a file a slice, and return its SeriesInstanceUID.

    ``names``: of the files, in the order of the slices; ``shear``: mm by which each slice is shifted against the one
    before; values of ``tags`` are those of all slices, or lists with one for each.
    """
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.array(directions, dtype=float)
    normal = np.cross(rows, columns)
    uid = uid or generate_uid(entropy_srcs=[str(folder), description])
    for z, pixels in enumerate(array):
        if z in leave_out:
            continue
        position = np.array(origin) + z * (spacing[0] * normal + np.array(shear))
        made = pydicom.Dataset()
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
        made.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(z), str(tags), str(folder)])
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = uid, "1.2.3.4", "1.2.3.5"
        made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "A^B", "p", "", "O"
        made.StudyID, made.StudyDate, made.StudyTime, made.AccessionNumber = "1", "20200101", "000000", ""
        made.ReferringPhysicianName, made.PositionReferenceIndicator = "", ""
        made.Modality, made.Manufacturer = "CT", "made"
        made.SeriesNumber, made.InstanceNumber, made.SeriesDescription = 3, len(array) - z, description
        made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.ImagePositionPatient = [float(f"{n:.6f}") for n in position]
        made.ImageOrientationPatient = [float(f"{n:.8f}") for n in (*rows, *columns)]
        made.PixelSpacing, made.SliceThickness = list(spacing[1:]), spacing[0]
        made.Rows, made.Columns = pixels.shape
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
        made.RescaleSlope, made.RescaleIntercept = (slopes[z] if slopes else slope), intercept
        made.PixelData = np.ascontiguousarray(pixels, dtype="<i2").tobytes()
        for tag, value in tags.items():
            setattr(made, tag, value[z] if isinstance(value, list) else value)
        name = names[z] if names else f"{z:04d}.dcm"
        made.save_as(folder / name, enforce_file_format=True)
    return uid


@pytest.fixture(scope="session")
def series():
    """Return what writes a DICOM series."""
    pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    return write_series


@pytest.fixture
def voxels():
    """An array of a small series."""
    return np.random.default_rng(0).integers(0, 2000, (6, 7, 9)).astype(np.int16)
