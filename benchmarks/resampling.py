"""Cubic resampling of volumes: time, agreement and peak memory beside scikit-image.

Run ``python benchmarks/resampling.py [--quick] [--threads N]``. Every measurement has a process of its own. Times are
the best of several calls, each with an empty cache of matrices. Peak memory is what the process grew by over its size
after the imports, input included, in copies of the larger volume as float32; in volumes under a million voxels it is
mostly what the process grows by anyway.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
Volume = npt.NDArray[np.float32]

QUICK: list[tuple[Shape, Shape]] = [
    ((8, 8, 8), (12, 12, 12)),
    ((8, 8, 8), (5, 5, 5)),
    ((16, 16, 16), (24, 24, 24)),
    ((36, 50, 35), (40, 56, 40)),
    ((64, 64, 64), (96, 96, 96)),
    ((1, 256, 256), (1, 400, 400)),
    ((512, 8, 8), (400, 8, 8)),
    ((128, 128, 128), (16, 16, 16)),
    ((16, 16, 16), (128, 128, 128)),
    ((120, 256, 256), (160, 200, 200)),
]
LARGE: list[tuple[Shape, Shape]] = [
    ((160, 200, 200), (120, 256, 256)),
    ((60, 512, 512), (200, 300, 300)),
    ((300, 512, 512), (200, 340, 340)),
    ((200, 340, 340), (300, 512, 512)),
]
HEADER = "         from            to  autoseg s  skimage s  ratio  max diff autoseg mem skimage mem"
ENOUGH_SECONDS = 1.0
MOST_CALLS = 50


def main() -> None:
    """Print one row per pair of shapes, or, as the measuring process, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only volumes of up to 8 million voxels")
    parser.add_argument("--threads", type=int, default=1, help="threads of the linear algebra library")
    parser.add_argument("--measure", nargs=4, metavar=("NAME", "SHAPE", "NEW_SHAPE", "RESULT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, shape, new_shape, result = arguments.measure
        print(json.dumps(measure(name, tuple(json.loads(shape)), tuple(json.loads(new_shape)), Path(result))))
        return
    print(HEADER)
    for shape, new_shape in QUICK if arguments.quick else QUICK + LARGE:
        print(row(shape, new_shape, threads=arguments.threads), flush=True)


def row(shape: Shape, new_shape: Shape, *, threads: int) -> str:
    """Measure both implementations on one pair of shapes; the difference is relative to the range of intensities."""
    with tempfile.TemporaryDirectory() as folder:
        ours = measure_apart("autoseg", shape, new_shape, folder=Path(folder), threads=threads)
        theirs = measure_apart("skimage", shape, new_shape, folder=Path(folder), threads=threads)
        results = [np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("autoseg", "skimage")]
        difference = max(float(np.abs(one - other).max()) for one, other in zip(*results, strict=True))
    sizes = f"{'x'.join(map(str, shape)):>13} {'x'.join(map(str, new_shape)):>13}"
    times = f"{ours['seconds']:10.5f} {theirs['seconds']:10.5f} {theirs['seconds'] / ours['seconds']:6.1f}"
    return f"{sizes} {times} {difference / ours['range']:9.1e} {ours['copies']:11.2f} {theirs['copies']:11.2f}"


def measure_apart(name: str, shape: Shape, new_shape: Shape, *, folder: Path, threads: int) -> dict[str, float]:
    """Run :func:`measure` in a fresh process, whose peak memory is then its own."""
    command = [sys.executable, __file__, "--measure", name, json.dumps(shape), json.dumps(new_shape)]
    environment = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    finished = subprocess.run(
        [*command, str(folder / f"{name}.npy")], env=os.environ | environment, check=True, capture_output=True
    )
    measured: dict[str, float] = json.loads(finished.stdout)
    return measured


def measure(name: str, shape: Shape, new_shape: Shape, result: Path) -> dict[str, Any]:
    """Time one implementation on made data and save what it gives."""
    resample, forget = implementation(name)
    resample(np.zeros((2, 2, 2), dtype=np.float32), (3, 3, 3))
    before = peak_bytes()
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    seconds: list[float] = []
    started = time.perf_counter()
    while not seconds or (len(seconds) < MOST_CALLS and time.perf_counter() - started < ENOUGH_SECONDS):
        forget()
        start = time.perf_counter()
        resampled = resample(volume, new_shape)
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:
            peak = peak_bytes() - before
            np.save(result, resampled)
        del resampled
    larger = 4 * max(np.prod(shape), np.prod(new_shape))
    return {"seconds": min(seconds), "copies": float(peak / larger), "range": float(np.ptp(volume))}


def implementation(name: str) -> tuple[Callable[[Volume, Shape], Volume], Callable[[], None]]:
    """Return one implementation as a function, and what empties its caches."""
    if name == "skimage":
        from skimage.transform import resize

        return lambda volume, shape: resize(volume, shape, order=3, mode="edge", anti_aliasing=False), lambda: None
    from autoseg.preprocessing.resample import resample_image
    from autoseg.preprocessing.spline import axis_bands

    return lambda volume, shape: resample_image(volume[None], shape)[0], axis_bands.cache_clear


def peak_bytes() -> int:
    """Return the largest size that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
