"""Export: seconds and peak memory from scores on a network's grid to a label map on the file's grid.

    python benchmarks/export.py [--probabilities]
    python benchmarks/export.py --from 100,130,130 --to 150,200,200 --nnunet OTHER_ENVIRONMENT/bin/python

Every measurement has a process of its own; peak memory is its VmHWM, the scores and the libraries included. nnU-Net's
``convert_predicted_logits_to_segmentation_with_correct_shape`` gets the same scores; it resamples all classes before it
compares them, so that 117 classes want a smaller grid.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Shape = tuple[int, ...]

NETWORK_GRID, FILE_GRID = (100, 256, 256), (300, 512, 512)
CLASSES = (3, 117)
BLOCK = 10
"""Voxels along each axis over which scores are alike, as organs have some size."""


def main() -> None:
    """Print one row per number of classes and program, or, as the measuring process, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="network_grid", type=_shape, default=NETWORK_GRID, metavar="Z,Y,X")
    parser.add_argument("--to", dest="file_grid", type=_shape, default=FILE_GRID, metavar="Z,Y,X")
    parser.add_argument("--nnunet", type=Path, help="Python of an environment with nnU-Net")
    parser.add_argument("--probabilities", action="store_true", help="export with --save-probabilities as well")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "CLASSES", "RESULT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, classes, result = options.measure
        measure(name, int(classes), Path(result), options)
        return
    print(f"{options.network_grid} -> {options.file_grid}, scores float32")
    for classes in options.classes:
        compare(classes, options)


def compare(classes: int, options: argparse.Namespace) -> None:
    """Measure one number of classes with each program."""
    size = 4 * classes * np.prod(options.network_grid) / 1024**3
    programs = {"autoseg": Path(sys.executable)}
    if options.probabilities:
        programs["autoseg-probabilities"] = Path(sys.executable)
    if options.nnunet:
        programs["nnunet"] = options.nnunet
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, np.ndarray] = {}
        for name, python in programs.items():
            result = Path(folder) / f"{name}.npy"
            grids = [",".join(map(str, grid)) for grid in (options.network_grid, options.file_grid)]
            words = [str(python), __file__, "--from", grids[0], "--to", grids[1], "--threads", str(options.threads)]
            words += ["--measure", name, str(classes), str(result)]
            printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            cost = json.loads(printed.splitlines()[-1])
            found[name] = np.load(result)
            same = np.mean(found[name] == found["autoseg"])
            row = f"{classes:4} classes, scores {size:5.2f} GB  {name:<22}"
            print(f"{row} {cost['seconds']:7.1f} s {cost['peak']:6.2f} GB {100 * same:9.4f} % alike", flush=True)


def measure(name: str, classes: int, result: Path, options: argparse.Namespace) -> None:
    """Export once and print what it took."""
    functions = {"autoseg": _autoseg, "autoseg-probabilities": _autoseg_probabilities, "nnunet": _nnunet}
    function = functions[name](classes, options, result.parent)
    scores = made_scores(classes, options.network_grid)
    start = time.perf_counter()
    labels = function(scores)
    seconds = time.perf_counter() - start
    # Before the result is saved, which is no part of it.
    peak = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024**2
    np.save(result, labels)
    print(json.dumps({"seconds": seconds, "peak": peak}))


def made_scores(classes: int, shape: Shape) -> np.ndarray:
    """Return scores [classes,Z,Y,X] float32 in which each class wins somewhere."""
    rng = np.random.default_rng(0)
    scores = np.empty((classes, *shape), dtype=np.float32)
    coarse = tuple(-(-n // BLOCK) for n in shape)
    for score in scores:
        blocks = rng.normal(size=coarse).astype(np.float32)
        for z, plane in enumerate(score):
            plane[:] = blocks[z // BLOCK].repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[: shape[1], : shape[2]]
    return scores


def _autoseg(classes: int, options: argparse.Namespace, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    from autoseg.postprocessing.label_maps import label_map
    from autoseg.postprocessing.scores import Scores

    dataset, steps = _autoseg_case(classes, options)
    return lambda scores: label_map([Scores(scores, steps)], dataset)


def _autoseg_probabilities(
    classes: int, options: argparse.Namespace, folder: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """As with --save-probabilities: all classes are written on the file's grid as well."""
    from autoseg.postprocessing.label_maps import label_map, write_probabilities
    from autoseg.postprocessing.scores import Scores

    dataset, steps = _autoseg_case(classes, options)

    def export(scores: np.ndarray) -> np.ndarray:
        write_probabilities(folder / "probabilities.b2nd", [Scores(scores, steps)], dataset)
        return label_map([Scores(scores, steps)], dataset)

    return export


def _autoseg_case(classes: int, options: argparse.Namespace) -> tuple[Any, Any]:
    from autoseg.data.dataset import Dataset
    from autoseg.images.crop import Box
    from autoseg.images.geometry import Geometry
    from autoseg.preprocessing.record import PreprocessingRecord

    labels = {"background": 0, **{f"class {n}": n for n in range(1, classes)}}
    dataset = Dataset("benchmark", ("CT",), labels, ".nii.gz", ())
    grid = options.file_grid
    geometry = Geometry(grid, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    return dataset, PreprocessingRecord(geometry, Box((0, 0, 0), grid), (0, 1, 2), grid, options.network_grid, None)


def _nnunet(classes: int, options: argparse.Namespace, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    grid = options.file_grid
    resampling = partial(resample_data_or_seg_to_shape, is_seg=False, order=1, order_z=0, force_separate_z=None)
    spacing = [new / old for new, old in zip(grid, options.network_grid, strict=True)]
    properties = {
        "spacing": [1.0, 1.0, 1.0],
        "shape_before_cropping": grid,
        "shape_after_cropping_and_before_resampling": grid,
        "bbox_used_for_cropping": [[0, n] for n in grid],
    }
    return lambda scores: convert_predicted_logits_to_segmentation_with_correct_shape(
        scores,
        SimpleNamespace(transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2]),
        SimpleNamespace(spacing=spacing, resampling_fn_probabilities=resampling),
        LabelManager({"background": 0, **{f"class {n}": n for n in range(1, classes)}}, None),
        properties,
        num_threads_torch=options.threads,
    )


def _shape(text: str) -> Shape:
    return tuple(int(n) for n in text.split(","))


if __name__ == "__main__":
    main()
