"""What cross-validation found in sentences, for the terminal and the report alike."""

from __future__ import annotations

from autoseg.choice.admission import Admission
from autoseg.choice.dice import Difference
from autoseg.choice.quality import Quality
from autoseg.choice.record import ClassDice, CrossValidation, DecoderResult, MirroringResult, Result
from autoseg.plan import Component
from autoseg.postprocessing.record import PostProcessing

ABSENT = "–"
MOST_SIDE_BY_SIDE = 4
"""Configurations whose classes there is room for: nnU-Net's."""


def decisions(found: CrossValidation) -> dict[str, str]:
    """Say what was decided and why, by what it is about."""
    said = {
        "held-out cases": f"{found.cases}, of {'fold' if len(found.folds) == 1 else 'folds'} "
        + ", ".join(map(str, found.folds)),
        "chosen": " + ".join(found.chosen),
        "trainer": found.trainer,
        "mirrored copies": _mirroring(found.mirroring),
        "Dice-optimal decoding": _decoding(found.decoder),
        "post-processing": _postprocessing(found.postprocessing),
        "mean Dice of all this together": figure(found.dice, 4),
        "probabilities": _probabilities(found.calibration.expected_error),
        "Dice expected without a reference": _quality(found.quality),
    }
    return said | ({} if found.admission is None else {"admitted": _admission(found.admission)})


def shown_by_class(found: CrossValidation) -> list[Result]:
    """Return whose classes are worth a column: the single configurations, of many the best one, and what was chosen."""
    single = [result for result in found.results if len(result.configurations) == 1]
    shown = single if len(single) <= MOST_SIDE_BY_SIDE else [found.best_single]
    return shown if found.best in shown else [*shown, found.best]


def interval(found: Difference) -> str:
    """Write a difference with its 95 % interval, where there is one."""
    if found.mean is None:
        return ABSENT
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f}"
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def spread(found: ClassDice) -> str:
    """Write a mean and its standard deviation."""
    return ABSENT if found.mean is None else f"{figure(found.mean)} ± {figure(found.sd)}"


def figure(value: float | None, digits: int = 3) -> str:
    """Write a number with so many decimal places, or a dash where there is none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def _admission(found: Admission) -> str:
    count = len(found.admitted) + len(found.left_out)
    left_out = "".join(f"; left out {name}: {reason}" for name, reason in found.left_out.items())
    return f"{len(found.admitted)} of {count}, within {found.within:g} of the best{left_out}"


def _mirroring(found: MirroringResult | None) -> str:
    if found is None:
        return "averaged over; 'autoseg choose --tta' measures if that is worth its time"
    time = f"{found.seconds:.2g} s a case instead of {found.seconds_without:.2g} s"
    return f"{interval(found.gain)}, {time}: {'averaged over' if found.kept else 'left out'}"


def _decoding(found: DecoderResult) -> str:
    return f"{interval(found.gain)}, {'kept' if found.kept else 'not kept: the interval is not above 0'}"


def _postprocessing(found: PostProcessing) -> str:
    if not found.steps or found.gain is None or found.expected_gain is None:
        return "none, as none helps cases that had no say in choosing it"
    steps = "; ".join(map(_step, found.steps))
    gains = ", ".join(f"{name} {gain:+.4f}" for name, gain in found.gains.items())
    expected = f"{found.expected_gain:+.4f} expected of new cases"
    return f"{steps}: {found.gain:+.4f} mean Dice on these cases ({gains}), {expected}"


def _step(step: Component) -> str:
    """Say what a step of post-processing does."""
    of = step.get("of", "all foreground")
    known = {
        "largest_component": f"{of}: largest component only",
        "remove_small": f"{of}: without components below {step.get('mm3', 0):.3g} mm³",
        "fill_holes": f"{of}: holes filled",
    }
    return known.get(str(step["name"]), str(step))


def _probabilities(error: float | None) -> str:
    return "no class was given any" if error is None else f"off by {error:.3f} on average"


def _quality(found: Quality | None) -> str:
    if found is None:
        return "not measured; 'autoseg choose' again does that"
    if found.overconfidence is None or found.error is None:
        return "not known, as no case has any Dice"
    correlations = {"what is expected": found.expected_correlation, "agreement": found.agreement_correlation}
    known = [f"{what} {value:+.2f}" for what, value in correlations.items() if value is not None]
    ranks = f"; rank correlation with what is reached: {', '.join(known)}" if known else ""
    over = found.overconfidence
    bias = f"{over:.3f} too high, which is taken off" if over >= 0 else f"{-over:.3f} too low, which is added"
    return f"{bias}; then off by {found.error:.3f}{ranks}"
