"""Predicting a folder of images: reading, computing and writing overlap, and what is done is not done again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import AutosegError, ImageError, WorkspaceError
from autoseg.inference.export import Scores, probabilities_on_grid
from autoseg.inference.predictor import Mirroring, Predictor
from autoseg.inference.sources import Source, check_folder, ending_of, find_sources
from autoseg.inference.suitability import check_suitability
from autoseg.preprocessing.case import Prepared
from autoseg.storage import read_json, write_json

logger = logging.getLogger("autoseg.prediction")

IN_FLIGHT = 2
"""Cases that are read ahead, and cases that wait to be written."""
SETTINGS_FILE = "prediction.json"
_UNSAID: dict[str, object] = {
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


@dataclass(frozen=True)
class _Output:
    """Where and what is written."""

    folder: Path
    ending: str | None
    """That of each image, where it is None."""
    probabilities: bool

    def labels(self, case: Source) -> Path:
        return self.folder / f"{case.name}{self.ending or case.ending}"

    def scores(self, case: Source) -> Path:
        return self.folder / f"{case.name}_probabilities.b2nd"

    def is_done(self, case: Source) -> bool:
        return self.labels(case).exists() and (not self.probabilities or self.scores(case).exists())


def predict_folder(
    workspace: Path | str,
    images: Path | str,
    output: Path | str,
    *,
    configurations: Sequence[str] | None = None,
    folds: Sequence[str | int] | None = None,
    trainer: str | None = None,
    device: str = "auto",
    tta: Mirroring = "auto",
    best: bool = False,
    save_probabilities: bool = False,
    postprocessing: bool = True,
    label_format: str | None = None,
    series: Path | str | None = None,
    overwrite: bool = False,
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
    """
    ending = ending_of(label_format)
    check_folder(Path(images))
    out = Path(output)
    if out.resolve() == Path(images).resolve():
        # An image with all channels in one file has the very name of its label map.
        raise WorkspaceError(f"{out}: is the folder of the images, which would be overwritten; name another folder")
    predictor = Predictor.load(
        workspace,
        configurations=configurations,
        folds=folds,
        trainer=trainer,
        device=device,
        tta=tta,
        best=best,
        postprocessing=postprocessing,
    )
    cases = find_sources(Path(images), predictor.dataset, series=series, label_format=label_format)
    asked = {"format": label_format, "series": None if series is None else str(series)}
    _claim(out, _settings(Path(workspace), predictor, folds, best) | asked, overwrite=overwrite)
    target = _Output(out, ending, save_probabilities)
    todo = [case for case in cases if overwrite or not target.is_done(case)]
    finished = progress("predicting", len(todo)) if progress else None
    failed: dict[str, str] = {}
    for case, error in _run(predictor, todo, target):
        if error:
            failed[case.name] = str(error)
            logger.error("case %s: %s", case.name, error)
        if finished:
            finished(case.name)
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
    predictor: Predictor, cases: Sequence[Source], target: _Output
) -> Iterator[tuple[Source, AutosegError | None]]:
    """Read, compute and write, each stage working on another case; yield cases as they are finished."""
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
        ahead: list[tuple[Source, Future[list[Prepared]]]] = []
        writing: list[tuple[Source, Future[None]]] = []
        waiting = iter(cases)
        while True:
            while len(ahead) < IN_FLIGHT and (case := next(waiting, None)) is not None:
                ahead.append((case, reader.submit(_read, predictor, case, target)))
            if not ahead:
                break
            case, reading = ahead.pop(0)
            try:
                scores = predictor.scores(reading.result())
            except AutosegError as error:
                yield case, error
                continue
            writing.append((case, writer.submit(_write, predictor, case, scores, target)))
            while len(writing) > IN_FLIGHT:
                yield _finish(*writing.pop(0))
        for item in writing:
            yield _finish(*item)


def _finish(case: Source, writing: Future[None]) -> tuple[Source, AutosegError | None]:
    """Wait for a case to be written. A fault of the disk ends the whole run: the next case would meet it too."""
    try:
        writing.result()
    except ImageError as error:
        return case, error
    return case, None


def _read(predictor: Predictor, case: Source, target: _Output) -> list[Prepared]:
    volume = case.read(predictor.dataset.channels)
    case.check_output(target.labels(case), volume.geometry)
    try:
        stages = [stage.configuration for stage in predictor.stages]
        for warning in check_suitability(volume.geometry, predictor.plan, stages):
            logger.warning("case %s: %s", case.name, warning)
        return predictor.prepare(volume)
    except ImageError as error:
        raise ImageError(f"{case.place}: {error}") from None


def _write(predictor: Predictor, case: Source, scores: list[Scores], target: _Output) -> None:
    if target.probabilities:
        from autoseg.preprocessing.store import write_array

        write_array(target.scores(case), probabilities_on_grid(scores, predictor.dataset))
    labels = predictor.finish.label_map(scores, predictor.dataset)
    case.write(target.labels(case), labels, scores[0].steps.geometry, predictor.dataset)
