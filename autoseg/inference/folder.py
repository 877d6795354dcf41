"""Predicting a folder of images: reading, computing and writing overlap, and what is done is not done again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autoseg.dataset import Case, split_ending
from autoseg.dataset_layouts import group_channels
from autoseg.errors import AutosegError, DatasetError, ImageError, WorkspaceError
from autoseg.images import non_finite_count, read_volume, write_labels
from autoseg.inference.export import Scores, probabilities_on_grid
from autoseg.inference.predictor import Mirroring, Predictor
from autoseg.preprocessing.case import Prepared
from autoseg.storage import read_json, write_json

logger = logging.getLogger("autoseg.prediction")

IN_FLIGHT = 2
"""Cases that are read ahead, and cases that wait to be written."""
SETTINGS_FILE = "prediction.json"
_WITHOUT_FINISH: dict[str, object] = {"decoder": {"name": "argmax"}, "postprocessing": []}
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
    file_ending: str
    probabilities: bool

    def labels(self, case: str) -> Path:
        return self.folder / f"{case}{self.file_ending}"

    def scores(self, case: str) -> Path:
        return self.folder / f"{case}_probabilities.b2nd"

    def is_done(self, case: str) -> bool:
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
    overwrite: bool = False,
    progress: Callable[[str, int], Callable[[str], None]] | None = None,
) -> FolderResult:
    """Predict every case of the folder ``images`` and write label maps to ``output`` on each image's own grid.

    Cases that are there already are left alone, so that an interrupted prediction continues; a folder that was made
    with other settings is refused unless ``overwrite`` is set. A case that fails is reported in the result, the others
    are done. With ``save_probabilities`` each case also gets ``<case>_probabilities.b2nd``, [classes,Z,Y,X] float16,
    which ``blosc2.open(path)[:]`` reads.
    """
    cases = find_cases(Path(images))
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
    _claim(out, _settings(Path(workspace), predictor, folds, best), overwrite=overwrite)
    target = _Output(out, predictor.dataset.file_ending, save_probabilities)
    todo = [case for case in cases if overwrite or not target.is_done(case.name)]
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


def find_cases(folder: Path) -> list[Case]:
    """List the cases of a folder of images; raise :class:`DatasetError` where it holds none."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder, expected a folder of images")
    cases = [Case(name, files) for name, files in sorted(group_channels(folder).items())]
    if not cases:
        raise DatasetError(f"{folder}: found no images, expected files like CASE_0000.nii.gz")
    return cases


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
        before = _WITHOUT_FINISH | before
        changed = [key for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise WorkspaceError(
                f"{folder}: holds predictions made with another {' and '.join(changed)} (see {SETTINGS_FILE}); "
                "name another folder or add --overwrite"
            )
    write_json(path, settings)


def _run(predictor: Predictor, cases: Sequence[Case], target: _Output) -> Iterator[tuple[Case, AutosegError | None]]:
    """Read, compute and write, each stage working on another case; yield cases as they are finished."""
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
        ahead: list[tuple[Case, Future[list[Prepared]]]] = []
        writing: list[tuple[Case, Future[None]]] = []
        waiting = iter(cases)
        while True:
            while len(ahead) < IN_FLIGHT and (case := next(waiting, None)) is not None:
                ahead.append((case, reader.submit(_read, predictor, case)))
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


def _finish(case: Case, writing: Future[None]) -> tuple[Case, AutosegError | None]:
    """Wait for a case to be written. A fault of the disk ends the whole run: the next case would meet it too."""
    writing.result()
    return case, None


def _read(predictor: Predictor, case: Case) -> list[Prepared]:
    volume = read_volume(case.images, channels=len(predictor.dataset.channels))
    for path, array in zip(case.images, volume.array if len(case.images) > 1 else [volume.array], strict=True):
        bad = non_finite_count(path, array)
        if bad:
            raise ImageError(f"{path}: {bad} voxels are NaN or infinite; replace them by the background's value")
    try:
        return predictor.prepare(volume)
    except ImageError as error:
        raise ImageError(f"{case.images[0]}: {error}") from None


def _write(predictor: Predictor, case: Case, scores: list[Scores], target: _Output) -> None:
    if target.probabilities:
        from autoseg.preprocessing.store import write_array

        write_array(target.scores(case.name), probabilities_on_grid(scores, predictor.dataset))
    labels = predictor.finish.label_map(scores, predictor.dataset)
    split = split_ending(case.images[0])
    same_format = split is not None and split[1] == target.file_ending
    write_labels(
        target.labels(case.name), labels, scores[0].steps.geometry, like=case.images[0] if same_format else None
    )
