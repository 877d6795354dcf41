"""Which normalization each channel gets, and the parameters that are fitted over the dataset for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Component
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.declared import by_channel_name
from autoseg.preprocessing.normalization.nyul import fit_landmarks

MASKING_SHARE = 0.75
"""Where cropping leaves less than this share of the voxels, intensities are normalized inside the non-zero mask."""


@dataclass(frozen=True)
class _Channel:
    """What is known of a channel when its normalization is fitted."""

    fingerprint: Fingerprint
    index: int
    masked: bool
    """As declared, or else where much is cropped away."""


def normalization(dataset: Dataset, fingerprint: Fingerprint, notes: list[str]) -> tuple[Component, ...]:
    """Take each channel's normalization as the dataset declares it, or choose it by the channel's name as nnU-Net does.

    What is declared comes before what is fitted. Raises :class:`PlanError` where the two do not go together.
    """
    specs = []
    for index, channel in enumerate(dataset.channels):
        wanted = dataset.normalization.get(channel) or by_channel_name(channel)
        masked = wanted.get("masked", fingerprint.median_cropped_share < MASKING_SHARE)
        fit = _FITS.get(wanted["name"])
        spec = {**wanted, **(fit(_Channel(fingerprint, index, masked)) if fit else {}), **wanted}
        try:
            normalizations.build(spec)
        except PlanError as error:
            raise PlanError(f"channel '{channel}': {error}; declare other arguments in dataset.json") from None
        origin = " as declared" if channel in dataset.normalization else ""
        notes.append(f"channel '{channel}': normalization {spec['name']}{origin}")
        specs.append(spec)
    return tuple(specs)


def _masked(channel: _Channel) -> Component:
    return {"masked": channel.masked}


def _ct(channel: _Channel) -> Component:
    seen = channel.fingerprint.intensities[channel.index]
    clip = {"lower": seen.percentile_00_5, "upper": seen.percentile_99_5}
    return {**clip, "mean": seen.mean, "deviation": seen.deviation}


def _suv(channel: _Channel) -> Component:
    """Clip as for CT, and scale by the foreground's deviation; uptake begins at 0, which stays 0."""
    seen = channel.fingerprint.intensities[channel.index]
    upper = seen.percentile_99_5 if seen.percentile_99_5 > 0 else 1.0
    return {"lower": 0.0, "upper": upper, "scale": seen.deviation or upper}


def _nyul(channel: _Channel) -> Component:
    measured = [case.percentiles[channel.index] for case in channel.fingerprint.cases if case.percentiles]
    if not measured:
        raise PlanError(
            "fingerprint.json: field 'cases.percentiles', found none, expected those that landmarks are fitted to; "
            "remove the file and measure it again with 'autoseg fingerprint'"
        )
    landmarks = fit_landmarks([case.nonzero if channel.masked else case.above_mean for case in measured])
    return {"landmarks": landmarks, "masked": channel.masked}


_FITS: dict[str, Callable[[_Channel], Component]] = {
    "ct": _ct,
    "suv": _suv,
    "nyul_z_score": _nyul,
    "z_score": _masked,
    "percentile": _masked,
    "bias_field_z_score": _masked,
}
"""What is fitted for each normalization; those that are not here have no parameters of the dataset."""
