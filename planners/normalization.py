"""Normalization of each channel, with parameters fitted to the dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint.record import Fingerprint, Intensities
from autoseg.plan.schema import Decision
from autoseg.preprocessing.declared import by_channel_name, fixed_part, is_learnable
from autoseg.preprocessing.normalization import normalizations, output_channels
from autoseg.preprocessing.normalization.nyul import fit_landmarks
from autoseg.registry import Component
from autoseg.system.units import numbers

MASKING_SHARE = 0.75
"""If cropping leaves less than this share of the voxels, intensities are normalized inside the non-zero mask."""
Z_SCORE: Component = {"name": "z_score"}
ROOM_TO_MOVE = 1.0
"""Unclipped range beyond each end of a learnable window, in window widths: the window can move so far in training."""


@dataclass(frozen=True)
class Normalized:
    """Normalization of the channels of an image."""

    specs: tuple[Component, ...]
    """One normalization for each channel of the file."""
    input_layer: Component | None
    """Input layer with learnable windows; None without them."""
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class _Channel:
    """Inputs for fitting the normalization of a channel."""

    fingerprint: Fingerprint
    index: int
    wanted: Component
    """Normalization as declared, or by the channel's name."""

    @property
    def seen(self) -> Intensities:
        """Intensities of the foreground."""
        return self.fingerprint.intensities[self.index]

    @property
    def masked(self) -> bool:
        """Whether to normalize inside the non-zero mask: as declared, or by :data:`MASKING_SHARE`."""
        return bool(self.wanted.get("masked", self.fingerprint.median_cropped_share < MASKING_SHARE))


@dataclass(frozen=True)
class _Fit:
    """A normalization and the reasons for it; declared parameters override fitted ones."""

    spec: Component
    reasons: tuple[str, ...] = ()


def normalization(dataset: Dataset, fingerprint: Fingerprint, *, instead_of_z_score: Component = Z_SCORE) -> Normalized:
    """Use the normalization that the dataset declares for each channel, or choose it by the channel's name (nnU-Net).

    Channels with the default z-score get ``instead_of_z_score``.
    Raises :class:`PlanError` if declared and fitted parameters contradict each other.
    """
    specs: list[Component] = []
    decisions, layer = [], None
    for index, name in enumerate(dataset.channels):
        wanted = instead_of_z_score if is_free(name, dataset) else _declared(name, dataset)
        channel = _Channel(fingerprint, index, wanted)
        found = _learnable(channel) if is_learnable(wanted) else _FITS.get(wanted["name"], _as_wanted)(channel)
        try:
            normalizations.build(found.spec)
        except PlanError as error:
            raise PlanError(f"channel '{name}': {error}; declare other arguments in dataset.json") from None
        if is_learnable(wanted):
            layer = {**fixed_part(wanted), "name": "learnable_window", "channel": output_channels(specs)}
        specs.append(found.spec)
        origin = _origin(name, dataset, changed=wanted is instead_of_z_score and wanted != Z_SCORE)
        decisions.append(_decision(name, found, origin, learned=is_learnable(wanted)))
    return Normalized(tuple(specs), layer, tuple(decisions))


def is_free(channel: str, dataset: Dataset) -> bool:
    """Return whether a channel has the default z-score, because neither dataset nor channel name sets another one."""
    return channel not in dataset.normalization and _declared(channel, dataset) == Z_SCORE


def _declared(channel: str, dataset: Dataset) -> Component:
    return dataset.normalization.get(channel) or by_channel_name(channel)


def _origin(channel: str, dataset: Dataset, *, changed: bool) -> str:
    if changed:
        return "instead of a z-score, because neither dataset.json nor the channel's name sets a normalization"
    return "declared in dataset.json" if channel in dataset.normalization else "chosen by the channel's name"


def _decision(channel: str, found: _Fit, origin: str, *, learned: bool) -> Decision:
    what = f"normalization {found.spec['name']}" + (", then learnable windows" if learned else "")
    return Decision("data", f"channel '{channel}': {what}", (origin, *found.reasons))


def _as_wanted(channel: _Channel) -> _Fit:
    """Return a normalization without fitted parameters."""
    return _Fit(channel.wanted)


def _windows(channel: _Channel) -> _Fit:
    ends = (f"{numbers([c - w / 2])} to {numbers([c + w / 2])}" for c, w in channel.wanted["windows"])
    return _Fit(channel.wanted, (f"windows from {', '.join(ends)} HU", _foreground(channel)))


def _masked(channel: _Channel) -> _Fit:
    return _Fit({"masked": channel.masked, **channel.wanted}, _masking(channel))


def _ct(channel: _Channel) -> _Fit:
    seen = channel.seen
    clip = {"lower": seen.percentile_00_5, "upper": seen.percentile_99_5}
    return _Fit({**clip, "mean": seen.mean, "std": seen.std, **channel.wanted}, (_foreground(channel),))


def _learnable(channel: _Channel) -> _Fit:
    """Normalize as ``ct``, but with a clipping range that covers all positions of the learnable windows."""
    seen, offset = channel.seen, channel.wanted.get("hu_offset", 0.0)
    reach = [(c + offset, (0.5 + ROOM_TO_MOVE) * w) for c, w in channel.wanted["windows"]]
    lower = min(seen.minimum, *(centre - half for centre, half in reach))
    upper = max(seen.maximum, *(centre + half for centre, half in reach))
    spec = {"name": "ct", "lower": lower, "upper": upper, "mean": seen.mean, "std": seen.std}
    why = (
        f"clipped to {numbers([lower])} and {numbers([upper])}: range of the foreground "
        f"({numbers([seen.minimum])} to {numbers([seen.maximum])}) and {ROOM_TO_MOVE:g} width beyond each window"
    )
    return _Fit(spec, (*_windows(channel).reasons, why))


def _suv(channel: _Channel) -> _Fit:
    """Clip from 0 to the 99.5th percentile, and divide by the foreground's std; an uptake of 0 stays 0."""
    seen = channel.seen
    upper = seen.percentile_99_5 if seen.percentile_99_5 > 0 else 1.0
    return _Fit({"lower": 0.0, "upper": upper, "scale": seen.std or upper, **channel.wanted}, (_foreground(channel),))


def _nyul(channel: _Channel) -> _Fit:
    """Fit landmarks to percentiles without bias field correction, which changes them by hundredths of the range."""
    cases = channel.fingerprint.cases
    measured = [case.percentiles[channel.index] for case in cases if case.percentiles]
    if not measured:
        raise PlanError(
            "fingerprint.json: field 'cases.percentiles', found none, expected percentiles for fitting the landmarks; "
            "remove the file and measure it again with 'autoseg fingerprint'"
        )
    landmarks = fit_landmarks([case.nonzero if channel.masked else case.above_mean for case in measured])
    spec = {"landmarks": landmarks, "masked": channel.masked, **channel.wanted}
    return _Fit(spec, (f"landmarks of {len(measured)} cases: {numbers(spec['landmarks'])}", *_masking(channel)))


def _foreground(channel: _Channel) -> str:
    seen = channel.seen
    return (
        f"foreground of {len(channel.fingerprint.labelled)} cases: 0.5th percentile {numbers([seen.percentile_00_5])}, "
        f"99.5th {numbers([seen.percentile_99_5])}, mean {numbers([seen.mean])}, std {numbers([seen.std])}"
    )


def _masking(channel: _Channel) -> tuple[str, ...]:
    """Explain why intensities are normalized inside the non-zero mask, or over the whole image."""
    place = "inside the non-zero mask" if channel.masked else "over the whole image"
    if "masked" in channel.wanted:
        return (f"{place}, as declared",)
    share = channel.fingerprint.median_cropped_share
    rule = f"less than {MASKING_SHARE:.0%}" if channel.masked else f"not less than {MASKING_SHARE:.0%}"
    return (f"cropping to the non-zero box leaves {share:.1%} of the median case, {rule}: {place}",)


_FITS: dict[str, Callable[[_Channel], _Fit]] = {
    "ct": _ct,
    "suv": _suv,
    "window": _windows,
    "nyul_z_score": _nyul,
    "z_score": _masked,
    "percentile": _masked,
    "bias_field_z_score": _masked,
}
"""Fitting functions by normalization; all other normalizations have no fitted parameters."""
