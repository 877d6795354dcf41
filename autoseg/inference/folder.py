"""Predict a folder of images. Reading, computing and writing overlap; finished cases are skipped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autoseg.errors import AutosegError, ImageError, WorkspaceError
from autoseg.files.storage import read_json, remove_partial, write_json
from autoseg.inference.hypotheses import hypothesis_networks
from autoseg.inference.needs import memory_for_cases
from autoseg.inference.output import HYPOTHESIS_FOLDER, PREVIEW_FOLDER, Output
from autoseg.inference.pipeline import Stages, run_stages
from autoseg.inference.predictor import Mirroring, Predictor
from autoseg.inference.sources import Source, check_folder, ending_of, find_sources
from autoseg.inference.suitability import check_suitability
from autoseg.inference.uncertainty_files import FOLDER as UNCERTAINTY_FOLDER
from autoseg.inference.uncertainty_files import UncertaintyFiles
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.case import Prepared
from autoseg.system.devices import check_devices
from autoseg.system.memory import format_bytes

logger = logging.getLogger("autoseg.prediction")

SETTINGS_FILE = "prediction.json"


@dataclass(frozen=True)
class FolderResult:
    """The predicted, skipped and failed cases of a folder."""

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    """Cases whose predictions existed already."""
    failed: dict[str, str]
    """Error message of each failed case."""


@dataclass(frozen=True)
class FolderRequest:
    """The folder to predict, the model, and the files to write."""

    workspace: Path
    """A workspace or a bundle."""
    images: Path
    """Image files, or sub-folders with DICOM series, see :mod:`autoseg.data.dicom_cases`."""
    output: Path
    configurations: Sequence[str] | None = None
    folds: Sequence[str | int] | None = None
    device: str = "auto"
    devices: Sequence[str] | None = None
    """Devices that share the cases; replaces ``device``. A device that is listed twice computes two cases at a time."""
    tta: Mirroring = "auto"
    best: bool = False
    """Use the weights with the best validation Dice instead of the last ones."""
    save_probabilities: bool = False
    """Write ``<case>_probabilities.b2nd``, [classes,Z,Y,X] float16, which ``blosc2.open(path)[:]`` reads."""
    uncertainty: bool = False
    """Write maps of the entropy and of the networks' disagreement, and the expected Dice of each case
    (:mod:`autoseg.inference.uncertainty`)."""
    preview: bool = False
    """Write a picture of each case: the contours of its labels over three planes of its image."""
    hypotheses: int = 0
    """Number of plausible label maps for each case (:mod:`autoseg.inference.hypotheses`). Networks with a latent
    variable produce any number of label maps, the same in every call; each other network produces one."""
    postprocessing: bool = True
    label_format: str | None = None
    """One of :data:`autoseg.inference.sources.FORMATS`; None: the format of each image."""
    series: Path | str | None = None
    """JSON file that assigns DICOM series to channels by their descriptions."""
    overwrite: bool = False
    memory: int | None = None
    """Maximum bytes of all cases in progress together; None: most of the free memory. If a case needs more, its
    probabilities are stored in a temporary file."""


def predict_folder(
    workspace: Path | str,
    images: Path | str,
    output: Path | str,
    *,
    progress: Callable[[str, int], Callable[[str], None]] | None = None,
    **options: Any,
) -> FolderResult:
    """Predict every case of the folder ``images`` and write label maps to ``output`` on each image's own grid.

    ``options`` are the fields of :class:`FolderRequest`. Existing predictions are kept, so that an interrupted run
    continues. If the output folder contains predictions with other settings, a :class:`WorkspaceError` is raised unless
    ``overwrite`` is set. The result lists failed cases; the other cases are still predicted. Raises :class:`PlanError`
    if the networks produce fewer hypotheses than requested.
    """
    request = FolderRequest(Path(workspace), Path(images), Path(output), **options)
    ending = ending_of(request.label_format)
    _check_folders(request)
    predictors = _load(request)
    predictor, out = predictors[0], request.output
    hypothesis_networks(predictor.members, request.hypotheses)
    cases = find_sources(request.images, predictor.dataset, series=request.series, label_format=request.label_format)
    _claim(out, _settings(request, predictor), overwrite=request.overwrite)
    for folder in (out, out / UNCERTAINTY_FOLDER, out / PREVIEW_FOLDER, *(out / HYPOTHESIS_FOLDER).glob("*")):
        remove_partial(folder)
    sure = _uncertainty_files(request, predictor)
    target = Output(out, ending, request.save_probabilities, sure, request.preview, request.hypotheses)
    if request.overwrite:
        target.remove_hypotheses(cases)
    todo = [case for case in cases if request.overwrite or not target.is_done(case)]
    failed = _predict_cases(predictors, todo, target, memory=memory_for_cases(request.memory), progress=progress)
    if sure:
        sure.write_table([case.name for case in cases], list(predictor.dataset.classes))
    named = {case.name for case in todo}
    return FolderResult(
        done=tuple(case.name for case in todo if case.name not in failed),
        skipped=tuple(case.name for case in cases if case.name not in named),
        failed=failed,
    )


def _check_folders(request: FolderRequest) -> None:
    """Raise an error if the folder contains no images, or if the output would overwrite the images."""
    check_folder(request.images)
    if request.output.resolve() == request.images.resolve():
        # The label map of an image with all channels in one file has the same name as the image.
        raise WorkspaceError(
            f"{request.output}: is the folder of the images, which would be overwritten; choose another output folder"
        )


def _load(request: FolderRequest) -> list[Predictor]:
    """Return one predictor for each listed device; the networks are loaded once for each different device."""
    names = check_devices(request.device, request.devices)
    loaded = {
        name: Predictor.load(
            request.workspace,
            configurations=request.configurations,
            folds=request.folds,
            device=name,
            tta=request.tta,
            best=request.best,
            postprocessing=request.postprocessing,
        )
        for name in dict.fromkeys(names)
    }
    return [loaded[name] for name in names]


def _uncertainty_files(request: FolderRequest, predictor: Predictor) -> UncertaintyFiles | None:
    if not request.uncertainty:
        return None
    if sum(len(member.networks) for member in predictor.members) == 1:
        logger.warning(
            "uncertainty: found one network, disagreement needs at least two; writing only entropy and expected Dice"
        )
    return UncertaintyFiles(request.output, predictor.overconfidence)


def _predict_cases(
    predictors: Sequence[Predictor],
    cases: Sequence[Source],
    target: Output,
    *,
    memory: int,
    progress: Callable[[str, int], Callable[[str], None]] | None,
) -> dict[str, str]:
    """Predict cases; return the error message of each failed case."""
    advance = progress("predicting", len(cases)) if progress else None
    failed: dict[str, str] = {}

    def finished(case: Source, error: AutosegError | None) -> None:
        if error:
            failed[case.name] = str(error)
            logger.error("case %s: %s", case.name, error)
        if advance:
            advance(case.name)

    _run(predictors, cases, target, memory=memory, finished=finished)
    return failed


def _settings(request: FolderRequest, predictor: Predictor) -> dict[str, object]:
    previous = {stage.previous.name: len(stage.previous.networks) for stage in predictor.stages if stage.previous}
    return {
        "workspace": str(request.workspace.resolve()),
        "trainers": sorted({member.configuration.trainer_name for member in predictor.members}),
        "members": {member.name: len(member.networks) for member in predictor.members},
        **({"previous stages": previous} if previous else {}),
        "folds": [str(fold) for fold in request.folds] if request.folds else "all trained",
        "mirror": predictor.mirror,
        "best": request.best,
        "decoder": predictor.finish.decoder,
        "postprocessing": list(predictor.finish.steps),
        "format": request.label_format,
        "series": None if request.series is None else str(request.series),
    }


def _claim(folder: Path, settings: dict[str, object], *, overwrite: bool) -> None:
    """Write the settings into the folder; raise :class:`WorkspaceError` if it contains predictions with others."""
    path = folder / SETTINGS_FILE
    if path.exists() and not overwrite:
        before = read_json(path)
        if not isinstance(before, dict):
            raise WorkspaceError(
                f"{path}: found a {type(before).__name__}, expected an object; remove it or add --overwrite"
            )
        changed = [key for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise WorkspaceError(
                f"{folder}: contains predictions made with another {' and '.join(changed)} (see {SETTINGS_FILE}); "
                "choose another folder or add --overwrite"
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
    """Run reading, computing and writing in parallel on different cases, with one predictor for each device."""
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
    """The processing steps of each case."""

    predictor: Predictor
    output: Output
    memory: int
    """Maximum bytes of all cases in progress together."""

    def need(self, case: Source) -> int:
        """Estimate the bytes that a case needs; 0 if its header cannot be used."""
        geometry = case.geometry()
        if geometry is None:
            return 0
        try:
            need = self.predictor.need(geometry, **self.output.wanted)
        except AutosegError:
            return 0  # Reading the image raises the same error, together with the name of the case.
        return need.arrays if need.total > self.memory else need.total

    def read(self, case: Source) -> list[Prepared]:
        """Read and preprocess a case; raise :class:`ImageError` if it cannot be predicted."""
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
        """Compute the scores of a case; store them in files if they do not fit into memory."""
        wanted, read_image = self.output.wanted, partial(case.read, predictor.dataset.channels)
        need = predictor.need(prepared[0].preprocessing.geometry, **wanted)
        if need.total <= self.memory:
            return predictor.scores(prepared, read_image=read_image, **wanted)
        logger.warning(
            "case %s: needs about %s of memory, more than the available %s; storing its %s of probabilities in a "
            "temporary file in %s",
            case.name,
            format_bytes(need.total),
            format_bytes(self.memory),
            format_bytes(need.scores),
            self.output.folder,
        )
        return predictor.scores(prepared, scratch=self.output.folder, read_image=read_image, **wanted)

    def write(self, case: Source, scores: list[Scores]) -> None:
        """Write all output files of a case."""
        self.output.write(case, scores, self.predictor)
