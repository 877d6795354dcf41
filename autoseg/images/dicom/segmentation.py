"""Write label maps as DICOM segmentation objects with highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import ImageError
from autoseg.files.storage import atomic_path
from autoseg.images.dicom.headers import needed, quiet, read_header
from autoseg.images.dicom.stacks import Stack

SERIES_NUMBER = 900
"""Series number of segmentations, larger than the numbers that scanners use."""
MANUFACTURER = "autoseg"

_REFERRED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID")
"""Identifiers that a segmentation needs to refer to its images."""


def check_identifiers(stack: Stack) -> None:
    """Raise :class:`ImageError` if a series lacks identifiers for a segmentation, for example after anonymization."""
    header = read_header(stack.files[0], tags=list(_REFERRED))
    missing = [tag for tag in _REFERRED if not header.get(tag)]
    if missing:
        raise ImageError(
            f"{stack.files[0]}: found no {', '.join(missing)}, expected all identifiers that a segmentation needs; "
            "choose another format for label maps, such as nii.gz"
        )


def write_segmentation(path: Path, labels: np.ndarray, stack: Stack, segments: Mapping[str, int], model: str) -> None:
    """Write a label map [Z,Y,X] on the grid of ``stack`` as a binary segmentation with a segment for each class.

    ``segments`` gives the label value of each class; segments are numbered from 1 in this order and refer to the slices
    of ``stack``. ``model`` is the name of the training dataset. Identifiers depend only on the series, the model and
    the labels, so equal predictions have equal identifiers. Raises :class:`ImageError` if the headers of the series
    are incomplete.
    """
    try:
        with quiet():
            segmentation = _segmentation(labels, stack, segments, model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"{stack.files[0]}: a segmentation cannot refer to it ({error}); choose another format for label maps, "
            "such as nii.gz"
        ) from None
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _segmentation(labels: np.ndarray, stack: Stack, segments: Mapping[str, int], model: str) -> Any:
    seg = needed("highdicom").seg
    series, instance = _identifiers(stack, labels, model)
    return seg.Segmentation(
        source_images=[read_header(file) for file in stack.files],
        pixel_array=_segment_numbers(labels, list(segments.values())),
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(list(segments)),
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model or MANUFACTURER,
        software_versions=version("autoseg"),
        device_serial_number="1",
        content_label="AUTOSEG",
        series_description=f"Segmentation of {stack.title}"[:64],
    )


def _segment_numbers(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Replace label values by their segment numbers, counted from 1."""
    table = np.zeros(max(int(labels.max(initial=0)), *values) + 1, dtype=np.uint8 if len(values) < 256 else np.uint16)
    table[list(values)] = np.arange(1, len(values) + 1)
    return table[labels]


def _descriptions(names: Sequence[str]) -> list[Any]:
    """Describe the segments; their type is the general code "tissue", because a dataset gives no tissue types."""
    highdicom = needed("highdicom")
    tissue = needed("pydicom.sr.codedict").codes.SCT.Tissue
    made_by = highdicom.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        version=version("autoseg"),
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


def _identifiers(stack: Stack, labels: np.ndarray, model: str) -> tuple[str, str]:
    uid = needed("pydicom.uid")
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    origin = [stack.slices[0].series, stack.phase, model, digest]
    return tuple(str(uid.generate_uid(entropy_srcs=[*origin, kind])) for kind in ("series", "instance"))  # type: ignore[return-value]
