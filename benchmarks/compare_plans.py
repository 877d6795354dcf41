"""Plans beside those of nnU-Net, for made fingerprints of many geometries.

    python benchmarks/compare_plans.py --nnunet OTHER_ENVIRONMENT/bin/nnUNetv2_plan_experiment

nnU-Net runs in an environment of its own, on the same shapes and spacings; images are not needed but for one voxel
each, by which it tells the file format. Prints one table row for each configuration of either.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.resources import GIGABYTE, Resources

STATISTICS = {"mean": 100.0, "median": 95.0, "std": 40.0, "min": -50.0, "max": 900.0}


Planned = dict[str, dict[str, Any]]
"""What is compared of each configuration."""


@dataclass(frozen=True)
class Geometry:
    """A made dataset: ``cases`` around one shape (voxels) and spacing (mm), both (z, y, x)."""

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    cases: int = 50
    channels: int = 1
    classes: int = 2


GEOMETRIES = (
    Geometry("brain, isotropic, 4 channels", (138, 169, 138), (1.0, 1.0, 1.0), 484, 4, 3),
    Geometry("prostate, 6:1", (20, 320, 320), (3.6, 0.62, 0.62), 32, 2),
    Geometry("heart, isotropic", (115, 320, 232), (1.37, 1.25, 1.25), 20, 1, 1),
    Geometry("hippocampus, tiny", (36, 50, 35), (1.0, 1.0, 1.0), 260),
    Geometry("liver, huge", (482, 512, 512), (1.0, 0.77, 0.77), 131),
    Geometry("pancreas, 3:1", (96, 512, 512), (2.5, 0.8, 0.8), 282),
    Geometry("cine heart, 6:1", (9, 256, 216), (10.0, 1.56, 1.56), 200, 1, 3),
    Geometry("thick slices, 10:1", (24, 512, 512), (5.0, 0.5, 0.5), 100),
    Geometry("whole body PET/CT", (326, 400, 400), (3.0, 2.04, 2.04), 1014, 2, 1),
    Geometry("microscopy, 2D", (1, 1024, 1024), (1.0, 1.0, 1.0), 100, 3, 1),
    Geometry("single voxels thick, coarse axis last", (256, 256, 40), (0.9, 0.9, 3.0), 60),
)


def cases_of(geometry: Geometry) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Vary shapes by a tenth around the stated one; the median stays near it."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(geometry.cases):
        factor = rng.uniform(0.9, 1.1, 3)
        shape = tuple(max(1, round(n * f)) if n > 1 else 1 for n, f in zip(geometry.shape, factor, strict=True))
        found.append((shape, geometry.spacing))
    return found


def ours(geometry: Geometry, gigabytes: float, planner: str) -> tuple[Planned, float]:
    """Plan with autoseg; returns configurations and seconds."""
    measures = tuple(
        CaseMeasure(f"case_{i:04d}", "", shape, shape, spacing, {"a": 1})  # type: ignore[arg-type]
        for i, (shape, spacing) in enumerate(cases_of(geometry))
    )
    seen = Intensities(100.0, 40.0, 95.0, -50.0, 900.0, 1.0, 300.0)
    labels = {"background": 0, **{f"class_{i}": i for i in range(1, geometry.classes + 1)}}
    dataset = Dataset("made", ("MR",) * geometry.channels, labels, ".nii.gz", ())
    resources = Resources("cuda", int(gigabytes * GIGABYTE), bfloat16=True)
    started = time.perf_counter()
    plan = make_plan(PlanRequest(dataset, Fingerprint(measures, (seen,) * geometry.channels), resources), planner)
    seconds = time.perf_counter() - started
    return {
        name: {
            "patch": list(c.patch_size),
            "batch": c.batch_size,
            "spacing": [None if s is None else round(s, 2) for s in c.spacing],
            "pools": [sum(s[a] > 1 for s in c.network["strides"]) for a in range(c.dimension)],
            "stages": len(c.network["strides"]),
        }
        for name, c in plan.configurations.items()
    }, seconds


def theirs(geometry: Geometry, gigabytes: float, command: Path, planner: str) -> tuple[Planned, float]:
    """Plan with nnU-Net; returns configurations and seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environment = {**os.environ, **{f"nnUNet_{k}": str(root / k) for k in ("raw", "preprocessed", "results")}}
        _write_dataset(geometry, root)
        started = time.perf_counter()
        subprocess.run(
            [command, "-d", "1", "-pl", planner, "-gpu_memory_target", str(gigabytes)],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        (file,) = (root / "preprocessed" / "Dataset001_made").glob("*lans.json")
        planned = json.loads(file.read_text())["configurations"]
    found = {}
    for name, configuration in planned.items():
        if "patch_size" not in configuration:
            continue
        strides = configuration["architecture"]["arch_kwargs"]["strides"]
        found[name] = {
            "patch": [int(n) for n in configuration["patch_size"]],
            "batch": configuration["batch_size"],
            "spacing": [round(s, 2) for s in configuration["spacing"]],
            "pools": [sum(s[a] > 1 for s in strides) for a in range(len(configuration["patch_size"]))],
            "stages": len(strides),
        }
    return found, seconds


def _write_dataset(geometry: Geometry, root: Path) -> None:
    """Write what nnU-Net's planner reads: a description, a fingerprint, and one file a case and channel."""
    raw, preprocessed = root / "raw" / "Dataset001_made", root / "preprocessed" / "Dataset001_made"
    for path in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        path.mkdir(parents=True)
    voxel = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    sitk.WriteImage(voxel, str(raw / "voxel.nii.gz"))
    made = cases_of(geometry)
    for i in range(len(made)):
        for c in range(geometry.channels):
            (raw / "imagesTr" / f"case_{i:04d}_{c:04d}.nii.gz").hardlink_to(raw / "voxel.nii.gz")
        (raw / "labelsTr" / f"case_{i:04d}.nii.gz").hardlink_to(raw / "voxel.nii.gz")
    labels = {"background": 0, **{f"class_{i}": i for i in range(1, geometry.classes + 1)}}
    description = {
        "channel_names": {str(c): "MR" for c in range(geometry.channels)},
        "labels": labels, "numTraining": len(made), "file_ending": ".nii.gz",
    }  # fmt: skip
    for folder in (raw, preprocessed):
        (folder / "dataset.json").write_text(json.dumps(description))
    seen = {**STATISTICS, "percentile_00_5": 1.0, "percentile_99_5": 300.0}
    fingerprint = {
        "spacings": [spacing for _, spacing in made],
        "shapes_after_crop": [shape for shape, _ in made],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {str(c): seen for c in range(geometry.channels)},
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


def _cells(planned: dict[str, Any] | None) -> str:
    if planned is None:
        return "– | – | – | –"
    patch = "×".join(map(str, planned["patch"]))
    spacing = "×".join("own" if s is None else f"{s:g}" for s in planned["spacing"])
    pools = "/".join(map(str, planned["pools"]))
    return f"{patch} | {planned['batch']} | {pools} | {spacing}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nnunet", type=Path, required=True, help="nnUNetv2_plan_experiment of another environment")
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--planner", default="unet")
    parser.add_argument("--nnunet-planner", default="ExperimentPlanner")
    arguments = parser.parse_args()
    print("| data | configuration | patch | batch | pools | mm | nnU-Net: patch | batch | pools | mm |")
    print("| --- " * 10 + "|")
    for geometry in GEOMETRIES:
        mine, seconds = ours(geometry, arguments.gigabytes, arguments.planner)
        other, other_seconds = theirs(geometry, arguments.gigabytes, arguments.nnunet, arguments.nnunet_planner)
        for name in dict.fromkeys((*mine, *other)):
            print(f"| {geometry.name} | {name} | {_cells(mine.get(name))} | {_cells(other.get(name))} |", flush=True)
        print(f"<!-- {geometry.name}: {seconds:.1f} s and {other_seconds:.1f} s -->", flush=True)


if __name__ == "__main__":
    main()
