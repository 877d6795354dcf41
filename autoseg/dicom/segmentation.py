"""Label maps as DICOM segmentation objects, by highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg import __version__
from autoseg.dataset import Dataset
from autoseg.dicom.headers import needed, quiet, read_header
from autoseg.dicom.stacks import Stack
from autoseg.errors import ImageError
from autoseg.storage import atomic_path

SERIES_NUMBER = 900
"""Behind the series that scanners number."""
MANUFACTURER = "autoseg"

_REFERRED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID")
"""Identifiers by which a segmentation refers to its images."""


def check_identifiers(stack: Stack) -> None:
    """Raise :class:`ImageError` where a series lacks identifiers that a segmentation needs, as after anonymization."""
    header = read_header(stack.files[0], tags=list(_REFERRED))
    missing = [tag for tag in _REFERRED if not header.get(tag)]
    if missing:
        raise ImageError(
            f"{stack.files[0]}: found no {', '.join(missing)}, expected what a segmentation refers to; choose another "
            "format for label maps, such as nii.gz"
        )


def write_segmentation(path: Path, labels: np.ndarray, stack: Stack, dataset: Dataset) -> None:
    """Write a label map [Z,Y,X] on the grid of ``stack`` as a binary segmentation with a segment for each class.

    Segments are numbered from 1 in the order of the dataset's classes and refer to the slices of ``stack``. Identifiers
    depend on the series and the labels alone, so that the same prediction is the same object. Raises
    :class:`ImageError` where the headers of the series do not suffice.
    """
    try:
        with quiet():
            segmentation = _segmentation(labels, stack, dataset)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"{stack.files[0]}: no segmentation can refer to it ({error}); choose another format for label maps, such "
            "as nii.gz"
        ) from None
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _segmentation(labels: np.ndarray, stack: Stack, dataset: Dataset) -> Any:
    seg = needed("highdicom").seg
    values = _values(dataset)
    series, instance = _identifiers(stack, labels, dataset)
    return seg.Segmentation(
        source_images=[read_header(file) for file in stack.files],
        pixel_array=_segment_numbers(labels, list(values.values())),
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(list(values)),
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=dataset.name or MANUFACTURER,
        software_versions=__version__,
        device_serial_number="1",
        content_label="AUTOSEG",
        series_description=f"Segmentation of {stack.title}"[:64],
    )


def _values(dataset: Dataset) -> dict[str, int]:
    """Return the label value that a label map holds for each class or region."""
    if dataset.regions:
        return dict(zip(dataset.regions, dataset.region_order, strict=True))
    return {name: value for name, value in dataset.labels.items() if value != 0}


def _segment_numbers(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Replace label values by the numbers of their segments, from 1 on."""
    table = np.zeros(max(int(labels.max(initial=0)), *values) + 1, dtype=np.uint8 if len(values) < 256 else np.uint16)
    table[list(values)] = np.arange(1, len(values) + 1)
    return table[labels]


def _descriptions(names: Sequence[str]) -> list[Any]:
    """Describe the segments; what kind of tissue a class is, a dataset does not say."""
    highdicom = needed("highdicom")
    tissue = needed("pydicom.sr.codedict").codes.SCT.Tissue
    made_by = highdicom.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        version=__version__,
        family=needed("pydicom.sr.codedict").codes.DCM.ArtificialIntelligence,
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=tissue,
            segmented_property_type=tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, name in enumerate(names, start=1)
    ]


def _identifiers(stack: Stack, labels: np.ndarray, dataset: Dataset) -> tuple[str, str]:
    uid = needed("pydicom.uid")
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    origin = [stack.slices[0].series, stack.phase, dataset.name, digest]
    return tuple(str(uid.generate_uid(entropy_srcs=[*origin, kind])) for kind in ("series", "instance"))  # type: ignore[return-value]
