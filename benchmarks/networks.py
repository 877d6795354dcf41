"""Every network in the same time: plan for it, train one fold, and say what came out, one row a network.

    python benchmarks/networks.py DATASET FOLDER [--time-budget 10m] [--planners unet vnet deepmedic]
    python benchmarks/networks.py DATASET FOLDER --emma unet_sum/z_score,fcn/z_score,unet_strided/z_score

Each planner has a workspace in FOLDER, and a network that is trained already is not trained again. With ``--emma`` the
members share one, and what ``autoseg choose`` makes of them follows. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import machine_line
from safetensors import safe_open
from whole_processes import AUTOSEG, measure

PLANNERS = (
    "unet",
    "residual_unet",
    "mednext",
    "vnet",
    "hyperdense",
    "unet_scinets",
    "convmixer",
    "unet_sum",
    "unet_strided",
    "fcn",
    "fcn_residual",
    "fcn_shallow",
    "fcn_resnet50",
    "probabilistic_unet",
    "deepmedic",
    "deepmedic_wide",
    "random_forest",
)
FOLD, CONFIGURATION, EMMA = "0", "3d_fullres", "emma"


@dataclass(frozen=True)
class Row:
    """What a network reached."""

    network: str
    dice: float
    parameters: int
    steps: int
    batch: int
    gigabytes: float
    seconds: float
    """Of the whole command, its validation included."""


def trained(workspace: Path, configuration: str, time_budget: str) -> Row:
    """Train a fold where it is not trained yet, and return what it reached."""
    plan = json.loads((workspace / "plan.json").read_text())["configurations"][configuration]
    folder = workspace / "models" / configuration / plan["trainer"]["name"] / f"fold_{FOLD}"
    noted = folder / "benchmark.json"
    if not noted.exists():
        cost = measure([*AUTOSEG, "train-fold", str(workspace), configuration, FOLD, "--time-budget", time_budget])
        noted.write_text(json.dumps({"gigabytes": cost.peak_gigabytes, "seconds": cost.seconds}))
    summary = json.loads((folder / "validation" / "summary.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    name = configuration if workspace.name == EMMA else workspace.name
    with safe_open(folder / "model.safetensors", "np") as weights:
        parameters = sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    return Row(
        name, summary["mean_dice"], parameters, last["step"], plan["batch_size"], **json.loads(noted.read_text())
    )


def planned(dataset: Path, workspace: Path, arguments: Sequence[str], time_budget: str) -> None:
    """Plan and preprocess; what is there is kept."""
    command = [*AUTOSEG, "plan-and-preprocess", str(dataset), "-w", str(workspace)]
    measure([*command, "--time-budget", time_budget, *arguments])


def alone(options: argparse.Namespace) -> Iterator[Row]:
    """Train each planner's network."""
    for planner in options.planners:
        workspace = options.folder / planner
        planned(options.dataset, workspace, ["--planner", planner, "-c", CONFIGURATION], options.time_budget)
        yield trained(workspace, CONFIGURATION, options.time_budget)


def members(options: argparse.Namespace) -> Iterator[Row]:
    """Train members of EMMA."""
    workspace = options.folder / EMMA
    planned(options.dataset, workspace, ["--planner", "emma", "--members", options.emma], options.time_budget)
    for configuration in json.loads((workspace / "plan.json").read_text())["configurations"]:
        yield trained(workspace, configuration, options.time_budget)


def show_choice(workspace: Path) -> None:
    """Print what the members reach together."""
    measure([*AUTOSEG, "choose", str(workspace)])
    for result in json.loads((workspace / "cross_validation.json").read_text())["results"]:
        print(f"{' + '.join(result['configurations'])}: {result['dice']:.4f}")


def show(row: Row) -> None:
    """Print one row."""
    figures = f"{row.dice:.4f} | {row.parameters / 1e6:.2f} M | {row.steps:,} | {row.batch} | {row.gigabytes:.2f} GB"
    print(f"| {row.network} | {figures} | {row.seconds:.0f} s |", flush=True)


def main() -> None:
    """Read the command line, train what is not trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time-budget", default="10m")
    parser.add_argument("--planners", nargs="+", default=PLANNERS)
    parser.add_argument("--emma", metavar="MEMBERS", help="these members of EMMA instead, and their ensemble")
    options = parser.parse_args()
    print(machine_line())
    print("| network | Dice | parameters | steps | batch | memory | time |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for row in members(options) if options.emma else alone(options):
        show(row)
    if options.emma:
        show_choice(options.folder / EMMA)


if __name__ == "__main__":
    main()
