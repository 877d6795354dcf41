"""Along which axes images may be mirrored, and which classes change places where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autoseg.augmentation import settings_from
from autoseg.augmentation.spatial import Spatial
from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Configuration, Decision, Swap, patch_axis
from autoseg.planners.wording import AXES
from autoseg.sides import lateral
from autoseg.swapping import label_swap

MOST_DEGREES = 30.0
"""Where classes have sides, patches turn no further about any axis: half a turn within slices would bring left to
right as mirroring does, but without the classes' changing places."""
MOST_NAMES = 3
"""Classes that a reason names; there may be a hundred."""

_ALL = (0, 1, 2)


@dataclass(frozen=True)
class Mirroring:
    """What a plan says of mirroring; axes are those after transposition."""

    axes: tuple[int, ...]
    decision: Decision
    swap: Swap | None = None
    lateral: tuple[int, ...] = ()
    """Axes along which left and right of classes may lie apart."""


def mirroring(dataset: Dataset, fingerprint: Fingerprint, transpose: tuple[int, int, int]) -> Mirroring:
    """Mirror along all axes, with left and right classes changing places across the body, or not across the body.

    The body's left and right are those of the images' directions, after all are turned to the common orientation.
    Where there is none and cases differ, and where a class has no
    counterpart, no mirrored image has labels that are right: that axis is left out.
    """
    if not dataset.sides and not dataset.one_sided:
        return Mirroring(_ALL, _decision(_ALL, "no class has a side, by its name or as declared in 'sides'"))
    sides = f"classes with a side: {_list(_names(dataset))}"
    seen = Counter(lateral(orientation) for orientation in fingerprint.orientations)
    if None in seen:
        unknown = "fingerprint.json does not tell the images' left from right; remove the file and plan again"
        return Mirroring((), _decision((), sides, unknown), lateral=_ALL)
    across = sorted({transpose.index(found[0]) for found in seen if found is not None})
    against = _against(dataset, seen, transpose)
    if against:
        kept = tuple(axis for axis in _ALL if axis not in across)
        return Mirroring(kept, _decision(kept, sides, *against), lateral=tuple(across))
    swap = Swap(across[0], dataset.sides)
    reasons = (sides, f"left and right lie along {AXES[swap.axis]} in every case")
    return Mirroring(_ALL, _decision(_ALL, *reasons, swap=swap), swap, (swap.axis,))


def bounded(configuration: Configuration, chosen: Mirroring) -> Configuration:
    """Keep a configuration's rotation from bringing left to right, where classes have sides and it turns that far."""
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
    """Return the reasons for which left and right classes cannot change places."""
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
    if label_swap(dataset, dataset.sides) is None:
        reasons.append("the regions of a pair are not made of label values that come in pairs")
    return reasons


def _names(dataset: Dataset) -> list[str]:
    return [*(f"{left} and {right}" for left, right in dataset.sides), *dataset.one_sided]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _decision(axes: Iterable[int], *reasons: str, swap: Swap | None = None) -> Decision:
    named = ", ".join(AXES[axis] for axis in axes)
    places = f"; along {AXES[swap.axis]}, left and right classes change places" if swap else ""
    return Decision("data", f"mirrored along {named or 'no axis'}{places}", reasons)
