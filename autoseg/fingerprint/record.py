"""The fingerprint: properties of a dataset, measured over all its cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoseg.data.kinds import KINDS, Kind
from autoseg.errors import DatasetError
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import write_json
from autoseg.images.orientation import common_orientation, reorientation_between


@dataclass(frozen=True)
class Intensities:
    """Foreground intensities of one channel, in the labelled cases."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class Fingerprint:
    """Shapes, spacings, intensities and class sizes of a dataset."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cases: tuple[CaseMeasure, ...]
    intensities: tuple[Intensities, ...]
    """One for each channel."""
    warnings: tuple[str, ...] = ()

    @property
    def labelled(self) -> tuple[CaseMeasure, ...]:
        """The cases with a label map: only these have class sizes and foreground intensities."""
        return tuple(case for case in self.cases if case.kind == "labelled")

    @property
    def kinds(self) -> dict[Kind, int]:
        """Number of cases of each kind; kinds without cases are left out."""
        found = Counter(case.kind for case in self.cases)
        return {kind: found[kind] for kind in KINDS if kind in found}

    @cached_property
    def orientation(self) -> str | None:
        """Common orientation of the cases, see :func:`autoseg.images.orientation.common_orientation`, or None."""
        return common_orientation([case.orientation for case in self.cases], [case.tilt for case in self.cases])

    @property
    def orientations(self) -> tuple[str, ...]:
        """Orientation of every case after reorientation to the common one; empty if it was not measured."""
        return tuple(self.orientation or case.orientation for case in self.cases)

    @property
    def spacings(self) -> np.ndarray:
        """Spacing of every case in mm, in the common orientation, [cases, 3]."""
        return self._turned([case.spacing for case in self.cases])

    @property
    def shapes(self) -> np.ndarray:
        """Shape of every case, in the common orientation, [cases, 3]."""
        return self._turned([case.shape for case in self.cases])

    @property
    def cropped_shapes(self) -> np.ndarray:
        """Shape of every case after cropping, in the common orientation, [cases, 3]."""
        return self._turned([case.cropped_shape for case in self.cases])

    def _turned(self, values: Sequence[Sequence[float]]) -> np.ndarray:
        wanted = self.orientation
        if wanted is None:
            return np.array(values)
        reorientations = [reorientation_between(case.orientation, wanted) for case in self.cases]
        return np.array(
            [
                [row[axis] for axis in reorientation.axes]
                for row, reorientation in zip(values, reorientations, strict=True)
            ]
        )

    @property
    def thickness(self) -> np.ndarray | None:
        """Thickness of the thinnest class along (z, y, x), in mm, in the common orientation.

        The thickness of a class is the median over the cases of its mean run length, see
        :func:`autoseg.fingerprint.case.class_runs`. Returns None if it was not measured.
        """
        names = {name for case in self.cases for name in case.runs}
        turned = [
            np.median(self._turned_rows([(case, case.runs[name]) for case in self.cases if name in case.runs]), axis=0)
            for name in sorted(names)
        ]
        return np.min(turned, axis=0) if turned else None

    def _turned_rows(self, rows: Sequence[tuple[CaseMeasure, Sequence[float]]]) -> np.ndarray:
        """Convert voxels of some cases to millimetres, in the common orientation."""
        wanted, found = self.orientation, []
        for case, row in rows:
            axes = reorientation_between(case.orientation, wanted).axes if wanted else range(3)
            found.append([row[axis] * case.spacing[axis] for axis in axes])
        return np.array(found)

    @property
    def median_cropped_share(self) -> float:
        """Median over the cases of the share of voxels that remains after cropping."""
        shapes = np.array([case.shape for case in self.cases], dtype=float)
        return float(np.median(self.cropped_shapes.prod(axis=1) / shapes.prod(axis=1)))


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write a fingerprint as JSON."""
    write_json(path, to_plain(fingerprint))


def read_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint that :func:`write_fingerprint` wrote."""
    return read_record(Fingerprint, path, error=DatasetError)


@dataclass(frozen=True)
class ChannelPercentiles:
    """Intensities of a channel at Nyúl's percentages; empty without foreground."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    nonzero: tuple[float, ...]
    """Percentiles of the non-zero voxels."""
    above_mean: tuple[float, ...]
    """Percentiles of the voxels above the mean."""


@dataclass(frozen=True)
class CaseMeasure:
    """Measured values of one case. Axes are those of the file, (z, y, x)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    source: str
    shape: tuple[int, int, int]
    cropped_shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    class_voxels: dict[str, int]
    percentiles: tuple[ChannelPercentiles, ...] = ()
    """Intensity percentiles of each channel, after cropping."""
    orientation: str = ""
    """Orientation of the axes, see :attr:`Geometry.orientation`; empty if it was not measured."""
    tilt: float = 0.0
    """Largest angle between an axis and its nearest body axis, in degrees."""
    missing_channels: tuple[int, ...] = ()
    """Numbers of the missing channels."""
    runs: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Mean run length in voxels of each class along z, y and x; only classes that occur in the case."""
    kind: Kind = "labelled"
    """Kind of the case. Without a label map, ``class_voxels`` and ``runs`` are empty."""
    sparse: bool = False
    """Whether the label map contains ignored voxels."""
