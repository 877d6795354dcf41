"""Predicting a folder of images: reading, computing and writing overlap, and what is done is not done again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autoseg.errors import AutosegError, ImageError, WorkspaceError
from autoseg.inference.devices import check_devices
from autoseg.inference.export import Scores
from autoseg.inference.hypotheses import hypothesis_networks
from autoseg.inference.needs import memory_for_cases
from autoseg.inference.output import HYPOTHESIS_FOLDER, PREVIEW_FOLDER, Output
from autoseg.inference.pipeline import Stages, run_stages
from autoseg.inference.predictor import Mirroring, Predictor
from autoseg.inference.sources import Source, check_folder, ending_of, find_sources
from autoseg.inference.suitability import check_suitability
from autoseg.inference.uncertainty_files import FOLDER as UNCERTAINTY_FOLDER
from autoseg.inference.uncertainty_files import UncertaintyFiles
from autoseg.memory import format_bytes
from autoseg.preprocessing.case import Prepared
from autoseg.storage import read_json, remove_partial, write_json

logger = logging.getLogger("autoseg.prediction")

SETTINGS_FILE = "prediction.json"
_UNSAID: dict[str, object] = {
    "trainer": "supervised",
    "decoder": {"name": "argmax"},
    "postprocessing": [],
    "format": None,
    "series": None,
}
"""What held for folders whose settings do not mention it."""


@dataclass(frozen=True)
class FolderResult:
    """What became of the cases of a folder."""

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    """Were there already."""
    failed: dict[str, str]
    """Case and reason."""


def predict_folder(
    workspace: Path | str,
    images: Path | str,
    output: Path | str,
    *,
    configurations: Sequence[str] | None = None,
    folds: Sequence[str | int] | None = None,
    trainer: str | None = None,
    device: str = "auto",
    devices: Sequence[str] | None = None,
    tta: Mirroring = "auto",
    best: bool = False,
    save_probabilities: bool = False,
    uncertainty: bool = False,
    preview: bool = False,
    hypotheses: int = 0,
    postprocessing: bool = True,
    label_format: str | None = None,
    series: Path | str | None = None,
    overwrite: bool = False,
    memory: int | None = None,
    progress: Callable[[str, int], Callable[[str], None]] | None = None,
) -> FolderResult:
    """Predict every case of the folder ``images`` and write label maps to ``output`` on each image's own grid.

    ``images`` may hold DICOM series in sub-folders instead of image files, see :mod:`autoseg.dicom.cases`; ``series``
    is then a JSON file that tells channels by their descriptions. ``label_format``, one of
    :data:`autoseg.inference.sources.FORMATS`, is by default that of each image.

    Cases that are there already are left alone, so that an interrupted prediction continues; a folder that was made
    with other settings is refused unless ``overwrite`` is set. A case that fails is reported in the result, the others
    are done. With ``save_probabilities`` each case also gets ``<case>_probabilities.b2nd``, [classes,Z,Y,X] float16,
    which ``blosc2.open(path)[:]`` reads.

    With ``uncertainty`` the folder ``uncertainty`` in it gets maps of entropy and of disagreement between the networks
    (:mod:`autoseg.inference.uncertainty`), and ``uncertainty.csv`` for each case the Dice that is expected of it. A
    single network disagrees with nobody. With ``preview`` the folder ``previews`` gets a picture of each case, its
    contours over three planes.

    With ``hypotheses`` the folders ``hypotheses/1``, ``hypotheses/2`` … get as many label maps of each case, each of
    which is plausible as a whole (:mod:`autoseg.inference.hypotheses`). Networks with a latent variable give as many as
    are wanted, the same in every call; others one each. Raises :class:`PlanError` where there are fewer.

    ``devices``, such as ``cuda:0`` and ``cuda:1``, share the cases between them, in place of one ``device``; a name
    that comes twice computes two cases at a time.

    ``memory`` is the number of bytes that cases in flight may take together, by default most of what is free. A case
    that is too large for it is predicted alone, its probabilities in a file instead of in memory.
    """
    ending = ending_of(label_format)
    check_folder(Path(images))
    out = Path(output)
    if out.resolve() == Path(images).resolve():
        # An image with all channels in one file has the very name of its label map.
        raise WorkspaceError(f"{out}: is the folder of the images, which would be overwritten; name another folder")
    load = partial(
        Predictor.load,
        workspace,
        configurations=configurations,
        folds=folds,
        trainer=trainer,
        tta=tta,
        best=best,
        postprocessing=postprocessing,
    )
    names = check_devices(device, devices)
    loaded = {name: load(device=name) for name in dict.fromkeys(names)}
    predictor = loaded[names[0]]
    hypothesis_networks(predictor.members, hypotheses)
    cases = find_sources(Path(images), predictor.dataset, series=series, label_format=label_format)
    asked = {"format": label_format, "series": None if series is None else str(series)}
    _claim(out, _settings(Path(workspace), predictor, folds, best) | asked, overwrite=overwrite)
    for folder in (out, out / UNCERTAINTY_FOLDER, out / PREVIEW_FOLDER, *(out / HYPOTHESIS_FOLDER).glob("*")):
        remove_partial(folder)
    sure = UncertaintyFiles(out, predictor.overconfidence) if uncertainty else None
    target = Output(out, ending, save_probabilities, sure, preview, hypotheses)
    if uncertainty and sum(len(member.networks) for member in predictor.members) == 1:
        logger.warning("uncertainty: one network disagrees with nobody; there are entropy and expected Dice alone")
    if overwrite:
        target.remove_hypotheses(cases)
    todo = [case for case in cases if overwrite or not target.is_done(case)]
    advance = progress("predicting", len(todo)) if progress else None
    failed: dict[str, str] = {}

    def finished(case: Source, error: AutosegError | None) -> None:
        if error:
            failed[case.name] = str(error)
            logger.error("case %s: %s", case.name, error)
        if advance:
            advance(case.name)

    _run([loaded[name] for name in names], todo, target, memory=memory_for_cases(memory), finished=finished)
    if sure:
        sure.write_table([case.name for case in cases], list(predictor.dataset.classes))
    named = {case.name for case in todo}
    return FolderResult(
        done=tuple(case.name for case in todo if case.name not in failed),
        skipped=tuple(case.name for case in cases if case.name not in named),
        failed=failed,
    )


def _settings(
    workspace: Path, predictor: Predictor, folds: Sequence[str | int] | None, best: bool
) -> dict[str, object]:
    previous = {stage.previous.name: len(stage.previous.networks) for stage in predictor.stages if stage.previous}
    return {
        "workspace": str(workspace.resolve()),
        "trainer": predictor.trainer,
        "members": {member.name: len(member.networks) for member in predictor.members},
        **({"previous stages": previous} if previous else {}),
        "folds": [str(fold) for fold in folds] if folds else "all trained",
        "mirror": predictor.mirror,
        "best": best,
        "decoder": predictor.finish.decoder,
        "postprocessing": list(predictor.finish.steps),
    }


def _claim(folder: Path, settings: dict[str, object], *, overwrite: bool) -> None:
    """Note in the folder what makes its predictions; refuse a folder with predictions of something else."""
    path = folder / SETTINGS_FILE
    if path.exists() and not overwrite:
        before = read_json(path)
        if not isinstance(before, dict):
            raise WorkspaceError(
                f"{path}: found a {type(before).__name__}, expected an object; remove it or add --overwrite"
            )
        before = _UNSAID | before
        changed = [key for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise WorkspaceError(
                f"{folder}: holds predictions made with another {' and '.join(changed)} (see {SETTINGS_FILE}); "
                "name another folder or add --overwrite"
            )
    write_json(path, settings)


def _run(
    predictors: Sequence[Predictor],
    cases: Sequence[Source],
    output: Output,
    *,
    memory: int,
    finished: Callable[[Source, AutosegError | None], None],
) -> None:
    """Read, compute and write, each stage working on another case; a predictor for each device."""
    work = _Work(predictors[0], output, memory)
    stages = Stages(
        need=work.need,
        read=work.read,
        compute=[partial(work.compute, predictor) for predictor in predictors],
        write=work.write,
        finished=finished,
    )
    run_stages(cases, stages, budget=memory)


@dataclass(frozen=True)
class _Work:
    """What is done with each case."""

    predictor: Predictor
    output: Output
    memory: int
    """Bytes for all cases in flight."""

    def need(self, case: Source) -> int:
        """Estimate the bytes that a case takes."""
        geometry = case.geometry()
        if geometry is None:
            return 0
        try:
            need = self.predictor.need(geometry, **self.output.wanted)
        except AutosegError:
            return 0  # Reading the image will meet the same and say which case it is.
        return need.arrays if need.total > self.memory else need.total

    def read(self, case: Source) -> list[Prepared]:
        """Read and preprocess a case; raise :class:`ImageError` where it cannot be predicted."""
        volume = case.read(self.predictor.dataset.channels)
        case.check_output(self.output.labels(case), volume.geometry)
        try:
            stages = [stage.configuration for stage in self.predictor.stages]
            for warning in check_suitability(volume.geometry, self.predictor.plan, stages):
                logger.warning("case %s: %s", case.name, warning)
            return self.predictor.prepare(volume, case.files)
        except ImageError as error:
            raise ImageError(f"{case.place}: {error}") from None

    def compute(self, predictor: Predictor, case: Source, prepared: list[Prepared]) -> list[Scores]:
        """Compute the scores of a case, in files where memory has no room for them."""
        wanted = self.output.wanted
        need = predictor.need(prepared[0].steps.geometry, **wanted)
        if need.total <= self.memory:
            return predictor.scores(prepared, **wanted)
        logger.warning(
            "case %s: takes about %s, more than the %s there is for it; its %s of probabilities are kept in a file of "
            "%s meanwhile",
            case.name,
            format_bytes(need.total),
            format_bytes(self.memory),
            format_bytes(need.scores),
            self.output.folder,
        )
        return predictor.scores(prepared, scratch=self.output.folder, **wanted)

    def write(self, case: Source, scores: list[Scores]) -> None:
        """Write all that is made of a case."""
        self.output.write(case, scores, self.predictor)
