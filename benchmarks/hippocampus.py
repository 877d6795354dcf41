"""Accuracy in a given time: plan for it, train a fold, and say what came out.

    python benchmarks/hippocampus.py DATASET --time-budget 25m [--fold 0] [--configuration 3d_fullres]

Everything runs as the commands of the README; the workspace is left in ``--workspace`` for a closer look.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from machine import machine_line


def main() -> None:
    """Read the command line, plan, train, and print the fold's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--time-budget", default="25m")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--workspace", type=Path, default=Path("hippocampus-benchmark.autoseg"))
    options = parser.parse_args()
    print(machine_line())
    autoseg = [sys.executable, "-m", "autoseg"]
    workspace = str(options.workspace)
    plan = [*autoseg, "plan-and-preprocess", str(options.dataset), "-w", workspace]
    subprocess.run([*plan, "--time-budget", options.time_budget], check=True)
    start = time.perf_counter()
    train = [*autoseg, "train-fold", workspace, options.configuration, options.fold]
    subprocess.run([*train, "--time-budget", options.time_budget], check=True)
    seconds = time.perf_counter() - start
    folder = options.workspace / "models" / options.configuration / "supervised" / f"fold_{options.fold}"
    summary = json.loads((folder / "validation" / "summary.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    classes = ", ".join(f"{name} {values['dice']['mean']:.4f}" for name, values in summary["classes"].items())
    print(f"{last['step']} steps in {last['seconds']:.0f} s, {seconds:.0f} s with validation")
    print(f"mean Dice {summary['mean_dice']:.4f} ({classes}) over {len(summary['cases'])} cases")


if __name__ == "__main__":
    main()
