"""Mirror axes of a plan, and the pairs of left and right classes to swap in mirrored images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autoseg.augmentation import settings_from
from autoseg.augmentation.spatial import Spatial
from autoseg.data.dataset import Dataset
from autoseg.data.sides import lateral
from autoseg.fingerprint.record import Fingerprint
from autoseg.plan.schema import Configuration, Decision, MirroredClasses, patch_axis
from autoseg.preprocessing.mirrored_labels import mirrored_indices
from autoseg.system.units import AXES

MOST_DEGREES = 30.0
"""Largest rotation about any axis if classes have sides: a rotation by 180° within slices moves left to right like
mirroring, but the labels of left and right would not be swapped."""
MOST_NAMES = 3
"""Maximum number of class names in a reason; a dataset may have a hundred classes."""

_ALL = (0, 1, 2)


@dataclass(frozen=True)
class Mirroring:
    """Mirroring in a plan; axes are counted after transposition."""

    axes: tuple[int, ...]
    decision: Decision
    mirrored_classes: MirroredClasses | None = None
    lateral: tuple[int, ...] = ()
    """Axes that may be the left-right axis."""


def mirroring(dataset: Dataset, fingerprint: Fingerprint, transpose: tuple[int, int, int]) -> Mirroring:
    """Choose the mirror axes: all axes with left and right labels swapped, or all axes except the left-right axis.

    Left and right come from the directions of the images, after these are turned to the common orientation. The
    left-right axis is left out if the mirrored labels would be wrong: if cases differ without a common orientation, or
    if a class has no counterpart on the other side.
    """
    if not dataset.sides and not dataset.one_sided:
        return Mirroring(_ALL, _decision(_ALL, "no class has a side, by its name or as declared in 'sides'"))
    sides = f"classes with a side: {_list(_names(dataset))}"
    seen = Counter(lateral(orientation) for orientation in fingerprint.orientations)
    if None in seen:
        unknown = "fingerprint.json does not contain the images' left and right; remove the file and plan again"
        return Mirroring((), _decision((), sides, unknown), lateral=_ALL)
    across = sorted({transpose.index(found[0]) for found in seen if found is not None})
    against = _against(dataset, seen, transpose)
    if against:
        kept = tuple(axis for axis in _ALL if axis not in across)
        return Mirroring(kept, _decision(kept, sides, *against), lateral=tuple(across))
    mirrored_classes = MirroredClasses(across[0], dataset.sides)
    reasons = (sides, f"left and right lie along {AXES[mirrored_classes.axis]} in every case")
    return Mirroring(
        _ALL, _decision(_ALL, *reasons, mirrored_classes=mirrored_classes), mirrored_classes, (mirrored_classes.axis,)
    )


def bounded(configuration: Configuration, chosen: Mirroring) -> Configuration:
    """Limit a configuration's rotation to :data:`MOST_DEGREES` if it could swap left and right of the body."""
    along = [patch_axis(axis, configuration) for axis in chosen.lateral]
    if not any(axis is not None for axis in along):
        return configuration
    settings = settings_from(configuration.augmentation)
    spatial = Spatial(configuration.patch_size, configuration.patch_spacing, settings.rotation, settings.scaling)
    if spatial.most_degrees <= MOST_DEGREES or not any(axis in spatial.turned_axes for axis in along):
        return configuration
    rotation = {**configuration.augmentation.get("rotation", {}), "degrees": MOST_DEGREES}
    return replace(configuration, augmentation={**configuration.augmentation, "rotation": rotation})


def _against(dataset: Dataset, seen: Counter[tuple[int, str] | None], transpose: tuple[int, int, int]) -> list[str]:
    """Return the reasons why left and right labels cannot be swapped."""
    reasons = []
    if dataset.one_sided:
        reasons.append(f"without a counterpart: {_list(dataset.one_sided)}")
    if len(seen) > 1:
        counts = (
            f"along {AXES[transpose.index(found[0])]} towards {found[1]} in {count}"
            for found, count in sorted(seen.items(), key=str)
            if found is not None
        )
        reasons.append(f"left and right differ between cases: {', '.join(counts)}")
    if mirrored_indices(dataset, dataset.sides) is None:
        reasons.append("the regions of a pair do not consist of paired label values")
    return reasons


def _names(dataset: Dataset) -> list[str]:
    return [*(f"{left} and {right}" for left, right in dataset.sides), *dataset.one_sided]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _decision(axes: Iterable[int], *reasons: str, mirrored_classes: MirroredClasses | None = None) -> Decision:
    named = ", ".join(AXES[axis] for axis in axes)
    places = f"; along {AXES[mirrored_classes.axis]}, left and right classes are swapped" if mirrored_classes else ""
    return Decision("data", f"mirrored along {named or 'no axis'}{places}", reasons)
