"""Which normalization each channel gets, and the parameters that are fitted over the dataset for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint import Fingerprint, Intensities
from autoseg.plan import Component, Decision
from autoseg.planners.wording import numbers
from autoseg.preprocessing.normalization import normalizations, output_channels
from autoseg.preprocessing.normalization.declared import by_channel_name, fixed_part, is_learnable
from autoseg.preprocessing.normalization.nyul import fit_landmarks

MASKING_SHARE = 0.75
"""Where cropping leaves less than this share of the voxels, intensities are normalized inside the non-zero mask."""
Z_SCORE: Component = {"name": "z_score"}
ROOM_TO_MOVE = 1.0
"""Widths beyond either end of a learnable window that are not clipped: it may move by as much and still see all."""


@dataclass(frozen=True)
class Normalized:
    """How the channels of an image reach the network."""

    specs: tuple[Component, ...]
    """One normalization for each channel of the file."""
    input_layer: Component | None
    """Where windows are learned, the layer that learns them."""
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class _Channel:
    """What is known of a channel when its normalization is fitted."""

    fingerprint: Fingerprint
    index: int
    wanted: Component
    """As declared, or by the channel's name."""

    @property
    def seen(self) -> Intensities:
        """The foreground's intensities."""
        return self.fingerprint.intensities[self.index]

    @property
    def masked(self) -> bool:
        """As declared, or else where much is cropped away."""
        return bool(self.wanted.get("masked", self.fingerprint.median_cropped_share < MASKING_SHARE))


@dataclass(frozen=True)
class _Fit:
    """A normalization and the figures that led to it; what is declared comes before what is fitted."""

    spec: Component
    reasons: tuple[str, ...] = ()


def normalization(dataset: Dataset, fingerprint: Fingerprint, *, instead_of_z_score: Component = Z_SCORE) -> Normalized:
    """Take each channel's normalization as the dataset declares it, or choose it by the channel's name as nnU-Net does.

    Channels whose name tells of nothing but a z-score get what is given ``instead_of_z_score``.
    Raises :class:`PlanError` where what is declared and what is fitted do not go together.
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
    """Tell whether neither the dataset nor a channel's name asks for anything but a z-score."""
    return channel not in dataset.normalization and _declared(channel, dataset) == Z_SCORE


def _declared(channel: str, dataset: Dataset) -> Component:
    return dataset.normalization.get(channel) or by_channel_name(channel)


def _origin(channel: str, dataset: Dataset, *, changed: bool) -> str:
    if changed:
        return "in place of a z-score, since neither dataset.json nor the channel's name says more"
    return "declared in dataset.json" if channel in dataset.normalization else "chosen by the channel's name"


def _decision(channel: str, found: _Fit, origin: str, *, learned: bool) -> Decision:
    what = f"normalization {found.spec['name']}" + (", then learnable windows" if learned else "")
    return Decision("data", f"channel '{channel}': {what}", (origin, *found.reasons))


def _as_wanted(channel: _Channel) -> _Fit:
    """Take a normalization that has no parameters of the dataset."""
    return _Fit(channel.wanted)


def _windows(channel: _Channel) -> _Fit:
    ends = (f"{numbers([c - w / 2])} to {numbers([c + w / 2])}" for c, w in channel.wanted["windows"])
    return _Fit(channel.wanted, (f"windows from {', '.join(ends)} HU", _foreground(channel)))


def _masked(channel: _Channel) -> _Fit:
    return _Fit({"masked": channel.masked, **channel.wanted}, _masking(channel))


def _ct(channel: _Channel) -> _Fit:
    seen = channel.seen
    clip = {"lower": seen.percentile_00_5, "upper": seen.percentile_99_5}
    return _Fit({**clip, "mean": seen.mean, "deviation": seen.deviation, **channel.wanted}, (_foreground(channel),))


def _learnable(channel: _Channel) -> _Fit:
    """Store the channel as ``ct`` would, but clipped no more than windows may learn to see."""
    seen, offset = channel.seen, channel.wanted.get("hu_offset", 0.0)
    reach = [(c + offset, (0.5 + ROOM_TO_MOVE) * w) for c, w in channel.wanted["windows"]]
    lower = min(seen.minimum, *(centre - half for centre, half in reach))
    upper = max(seen.maximum, *(centre + half for centre, half in reach))
    spec = {"name": "ct", "lower": lower, "upper": upper, "mean": seen.mean, "deviation": seen.deviation}
    why = (
        f"clipped to {numbers([lower])} and {numbers([upper])} only: all that the foreground holds "
        f"({numbers([seen.minimum])} to {numbers([seen.maximum])}) and {ROOM_TO_MOVE:g} width beyond each window"
    )
    return _Fit(spec, (*_windows(channel).reasons, why))


def _suv(channel: _Channel) -> _Fit:
    """Clip as for CT, and scale by the foreground's deviation; uptake begins at 0, which stays 0."""
    seen = channel.seen
    upper = seen.percentile_99_5 if seen.percentile_99_5 > 0 else 1.0
    return _Fit(
        {"lower": 0.0, "upper": upper, "scale": seen.deviation or upper, **channel.wanted}, (_foreground(channel),)
    )


def _nyul(channel: _Channel) -> _Fit:
    """Fit landmarks to percentiles of images as they are: their bias fields move these by hundredths of the range."""
    cases = channel.fingerprint.cases
    measured = [case.percentiles[channel.index] for case in cases if case.percentiles]
    if not measured:
        raise PlanError(
            "fingerprint.json: field 'cases.percentiles', found none, expected those that landmarks are fitted to; "
            "remove the file and measure it again with 'autoseg fingerprint'"
        )
    landmarks = fit_landmarks([case.nonzero if channel.masked else case.above_mean for case in measured])
    spec = {"landmarks": landmarks, "masked": channel.masked, **channel.wanted}
    return _Fit(spec, (f"landmarks of {len(measured)} cases: {numbers(spec['landmarks'])}", *_masking(channel)))


def _foreground(channel: _Channel) -> str:
    seen = channel.seen
    return (
        f"foreground of {len(channel.fingerprint.cases)} cases: 0.5th percentile {numbers([seen.percentile_00_5])}, "
        f"99.5th {numbers([seen.percentile_99_5])}, mean {numbers([seen.mean])}, deviation {numbers([seen.deviation])}"
    )


def _masking(channel: _Channel) -> tuple[str, ...]:
    """Tell why intensities are normalized inside the non-zero mask, or why not."""
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
"""How each normalization is fitted; those that are not here have no parameters of the dataset."""
