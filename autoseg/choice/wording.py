"""Describe the results of cross-validation in sentences, for the terminal and the report."""

from __future__ import annotations

from autoseg.choice.dice import Difference
from autoseg.choice.dice_margin import Admission
from autoseg.choice.quality import Quality
from autoseg.choice.record import ClassDice, CrossValidation, DecoderResult, MirroringResult, Result
from autoseg.inference.ensemble import PostProcessing
from autoseg.registry import Component

ABSENT = "–"
MOST_SIDE_BY_SIDE = 4
"""Maximum number of configurations with a table column each; nnU-Net has four configurations."""


def decisions(found: CrossValidation) -> dict[str, str]:
    """Return a description of each decision and its reason, by topic."""
    said = {
        "held-out cases": f"{found.cases}, of {'fold' if len(found.folds) == 1 else 'folds'} "
        + ", ".join(map(str, found.folds)),
        "chosen": " + ".join(found.chosen),
        "mirrored copies": _mirroring(found.mirroring),
        **({} if found.decoder is None else {_decoder_name(found.decoder): _decoding(found.decoder)}),
        "post-processing": _postprocessing(found.postprocessing),
        "mean Dice with all these settings": figure(found.dice, 4),
        "probabilities": _probabilities(found.calibration.expected_error),
        "Dice expected without a reference": _quality(found.quality),
    }
    return said | ({} if found.dice_margin is None else {"admitted": _admission(found.dice_margin)})


def shown_by_class(found: CrossValidation) -> list[Result]:
    """Return the results with a column in the table of classes.

    These are the single configurations, or only the best one if there are many, and the selected ensemble.
    """
    single = [result for result in found.results if len(result.configurations) == 1]
    shown = single if len(single) <= MOST_SIDE_BY_SIDE else [found.best_single]
    return shown if found.best in shown else [*shown, found.best]


def interval(found: Difference) -> str:
    """Format a difference with its 95 % interval, if it has one."""
    if found.mean is None:
        return ABSENT
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f}"
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def spread(found: ClassDice) -> str:
    """Format a mean and its standard deviation."""
    return ABSENT if found.mean is None else f"{figure(found.mean)} ± {figure(found.sd)}"


def figure(value: float | None, digits: int = 3) -> str:
    """Format a number with ``digits`` decimal places; None becomes a dash."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def _admission(found: Admission) -> str:
    count = len(found.admitted) + len(found.left_out)
    left_out = "".join(f"; left out {name}: {reason}" for name, reason in found.left_out.items())
    return f"{len(found.admitted)} of {count}, within {found.within:g} of the best{left_out}"


def _mirroring(found: MirroringResult | None) -> str:
    if found is None:
        return "used, not measured; 'autoseg choose --tta' measures whether the gain justifies the time"
    time = f"{found.seconds:.2g} s a case instead of {found.seconds_without:.2g} s"
    return f"{interval(found.gain)}, {time}: {'used' if found.kept else 'not used'}"


def _decoder_name(found: DecoderResult) -> str:
    name = str(found.decoder["name"])
    return "Dice-optimal decoding" if name == "dice_optimal" else f"decoder {name}"


def _decoding(found: DecoderResult) -> str:
    return f"{interval(found.gain)}, {'kept' if found.kept else 'not kept: the interval is not above 0'}"


def _postprocessing(found: PostProcessing) -> str:
    if not found.steps or found.gain is None or found.expected_gain is None:
        return "none, because no step improves cases that were not used to select it"
    steps = "; ".join(map(_step, found.steps))
    gains = ", ".join(f"{name} {gain:+.4f}" for name, gain in found.gains.items())
    expected = f"{found.expected_gain:+.4f} expected on new cases"
    return f"{steps}: {found.gain:+.4f} mean Dice on these cases ({gains}), {expected}"


def _step(step: Component) -> str:
    """Describe a post-processing step."""
    of = step.get("of", "all foreground")
    known = {
        "largest_component": f"{of}: keep only the largest component",
        "remove_small": f"{of}: remove components below {step.get('mm3', 0):.3g} mm³",
        "fill_holes": f"{of}: fill holes",
    }
    return known.get(str(step["name"]), str(step))


def _probabilities(error: float | None) -> str:
    return "no class has any" if error is None else f"differ from the true frequency by {error:.3f} on average"


def _quality(found: Quality | None) -> str:
    if found is None:
        return "not measured; run 'autoseg choose' again to measure it"
    if found.overconfidence is None or found.error is None:
        return "not known, because no case has a defined Dice"
    correlations = {"expected Dice": found.expected_correlation, "agreement": found.agreement_correlation}
    known = [f"{what} {value:+.2f}" for what, value in correlations.items() if value is not None]
    ranks = f"; rank correlation with the measured Dice: {', '.join(known)}" if known else ""
    over = found.overconfidence
    bias = f"{over:.3f} too high, corrected" if over >= 0 else f"{-over:.3f} too low, corrected"
    return f"{bias}; mean absolute error after the correction {found.error:.3f}{ranks}"
