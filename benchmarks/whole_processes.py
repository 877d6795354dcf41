"""Whole commands as processes: seconds and peak memory of autoseg, and of nnU-Net where a second environment has it.

    python benchmarks/whole_processes.py preprocess DATASET
    python benchmarks/whole_processes.py predict DATASET WORKSPACE
    python benchmarks/whole_processes.py preprocess DATASET --nnunet OTHER_ENVIRONMENT/bin
    python benchmarks/whole_processes.py predict DATASET WORKSPACE --nnunet OTHER_ENVIRONMENT/bin

DATASET is a folder in nnU-Net v2's layout. ``predict`` takes the images of imagesTr, 52 by default, and fold 0 of a
configuration of WORKSPACE; nnU-Net gets the same weights (``nnunet_twin.py``).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

AUTOSEG = [sys.executable, "-m", "autoseg"]
NNUNET_ID = 999


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    processor_seconds: float
    """Of all its processes."""
    peak_gigabytes: float
    """Of the largest single process."""


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end; its output is shown only if it fails.

    A process in between has the command, and what it starts, as its only children: their peak is nobody else's.
    """
    words = [sys.executable, "-c", _MEASURING, *command]
    together = {**os.environ, **(environment or {})}
    process = subprocess.run(words, check=False, capture_output=True, text=True, env=together)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with status {process.returncode}:\n{process.stdout}{process.stderr}")
    return Cost(*json.loads(process.stdout.splitlines()[-1]))


_MEASURING = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.call(sys.argv[1:])
spent, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([spent, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024**2]))
sys.exit(status)
"""


def show(name: str, cost: Cost, reached: str = "") -> None:
    """Print one row."""
    times = f"{cost.seconds:8.1f} s, {cost.processor_seconds:8.1f} s of processors"
    print(f"{name:<46} {times}, {cost.peak_gigabytes:6.2f} GB  {reached}", flush=True)


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


def predict(dataset: Path, workspace: Path, cases: int, configuration: str, nnunet: Path | None) -> None:
    """Predict a folder of images with fold 0, without and with mirrored copies; Dice where there are label maps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        _some_cases(dataset, images, cases)
        if nnunet:
            from nnunet_twin import NUMBER, write_twin

            write_twin(workspace, configuration, folder / "results")
        for tta, flags in (("none", ["--disable_tta"]), ("mirror", [])):
            out = folder / f"autoseg-{tta}"
            command = [*AUTOSEG, "predict-folder", str(workspace), str(images), str(out), "--tta", tta]
            command += ["-c", configuration, "--fold", "0", "--no-postprocessing"]
            show(f"autoseg predict-folder --tta {tta}, {cases} cases", measure(command), _mean_dice(out, dataset))
            if nnunet:
                out = folder / f"nnunet-{tta}"
                command = [str(nnunet / "nnUNetv2_predict"), "-i", str(images), "-o", str(out), "-d", str(NUMBER)]
                command += ["-c", "3d_fullres", "-f", "0", "-device", "cpu", *flags]
                found = measure(command, _nnunet_environment(folder))
                show(f"nnU-Net predict {' '.join(flags)}", found, _mean_dice(out, dataset))


def _mean_dice(predictions: Path, dataset: Path) -> str:
    from autoseg.evaluation.folder import evaluate_folder

    # That other cases were not predicted is meant.
    logging.getLogger("autoseg").setLevel(logging.ERROR)
    labels = dataset / "labelsTr"
    if not labels.exists():
        return ""
    summary = evaluate_folder(predictions, labels, dataset=dataset / "dataset.json")
    return f"mean Dice {summary.mean_dice:.4f}"


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
    parser.add_argument("--configuration", default="3d_fullres")
    options = parser.parse_args()
    if options.what == "preprocess":
        preprocess(options.dataset, options.nnunet)
    elif options.workspace is None:
        parser.error("predict needs a WORKSPACE with a trained fold")
    else:
        predict(options.dataset, options.workspace, options.cases, options.configuration, options.nnunet)


if __name__ == "__main__":
    main()
