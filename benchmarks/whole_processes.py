"""Whole commands as processes: seconds and peak memory of autoseg, and of nnU-Net where a second environment has it.

    python benchmarks/whole_processes.py preprocess DATASET
    python benchmarks/whole_processes.py predict DATASET WORKSPACE
    python benchmarks/whole_processes.py preprocess DATASET --nnunet OTHER_ENVIRONMENT/bin

DATASET is a folder in nnU-Net v2's layout. ``predict`` takes the images of imagesTr, 52 by default, and the folds that
are trained in WORKSPACE; for nnU-Net it needs a trained model of its own (``--nnunet-results``).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

AUTOSEG = [sys.executable, "-m", "autoseg"]
NNUNET_ID = 999


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    peak_gigabytes: float
    """Of the largest single process."""


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end; its output is shown only if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with status {process.returncode}:\n{output}")
    # The kernel keeps the largest of all children so far: measure the smaller command first.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    return Cost(time.perf_counter() - start, peak)


def show(name: str, cost: Cost) -> None:
    """Print one row."""
    print(f"{name:<42} {cost.seconds:8.1f} s {cost.peak_gigabytes:6.2f} GB", flush=True)


def preprocess(dataset: Path, nnunet: Path | None) -> None:
    """Fingerprint, plan and preprocess for 2d and 3d_fullres, with two workers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*AUTOSEG, "plan-and-preprocess", str(dataset), "-w", f"{folder}/workspace", "--workers", "2"]
        show("autoseg plan-and-preprocess", measure(command))
        show("the same again, all being there", measure(command))
        if nnunet:
            _nnunet_preprocess(dataset, nnunet, Path(folder))


def _nnunet_preprocess(dataset: Path, nnunet: Path, folder: Path) -> None:
    environment = _nnunet_environment(folder)
    (folder / "raw").mkdir()
    (folder / "raw" / f"Dataset{NNUNET_ID}_Benchmark").symlink_to(dataset.resolve())
    number = str(NNUNET_ID)
    steps = {
        "nnU-Net fingerprint": ["nnUNetv2_extract_fingerprint", "-d", number, "-np", "2"],
        "nnU-Net plan": ["nnUNetv2_plan_experiment", "-d", number],
        "nnU-Net preprocess 2d": ["nnUNetv2_preprocess", "-d", number, "-c", "2d", "-np", "2"],
        "nnU-Net preprocess 3d_fullres": ["nnUNetv2_preprocess", "-d", number, "-c", "3d_fullres", "-np", "2"],
    }
    for name, (program, *arguments) in steps.items():
        show(name, measure([str(nnunet / program), *arguments], environment))


def _nnunet_environment(folder: Path) -> dict[str, str]:
    names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
    return {variable: str(folder / name) for variable, name in names.items()}


def predict(dataset: Path, workspace: Path, cases: int, nnunet: Path | None, results: Path | None) -> None:
    """Predict a folder of images without and with mirrored copies."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        _some_cases(dataset, images, cases)
        for tta in ("none", "mirror"):
            command = [*AUTOSEG, "predict-folder", str(workspace), str(images), f"{folder}/out-{tta}", "--tta", tta]
            show(f"autoseg predict-folder --tta {tta}, {cases} cases", measure(command))
        if nnunet and results:
            environment = {**_nnunet_environment(Path(folder)), "nnUNet_results": str(results)}
            for flags in (["--disable_tta"], []):
                command = [str(nnunet / "nnUNetv2_predict"), "-i", str(images), "-o", f"{folder}/nnunet{len(flags)}"]
                command += ["-d", str(NNUNET_ID), "-c", "3d_fullres", "-f", "0", "-device", "cpu", *flags]
                show(f"nnU-Net predict {' '.join(flags)}", measure(command, environment))


def _some_cases(dataset: Path, folder: Path, count: int) -> None:
    """Copy the images of the first cases."""
    folder.mkdir()
    channels = len(json.loads((dataset / "dataset.json").read_text())["channel_names"])
    for path in sorted((dataset / "imagesTr").iterdir())[: count * channels]:
        shutil.copy(path, folder)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("preprocess", "predict"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("workspace", type=Path, nargs="?")
    parser.add_argument("--cases", type=int, default=52)
    parser.add_argument("--nnunet", type=Path, help="folder of nnU-Net's programs")
    parser.add_argument("--nnunet-results", type=Path, help="nnU-Net's folder of trained models")
    options = parser.parse_args()
    if options.what == "preprocess":
        preprocess(options.dataset, options.nnunet)
    elif options.workspace is None:
        parser.error("predict needs a WORKSPACE with a trained fold")
    else:
        predict(options.dataset, options.workspace, options.cases, options.nnunet, options.nnunet_results)


if __name__ == "__main__":
    main()
