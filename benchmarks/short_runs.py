"""One training of ``short_budgets.py``: autoseg or the plain U-Net as a process, here or as on a slower machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slower_machine import MACHINES, Timing, affordable_steps
from whole_processes import AUTOSEG

from autoseg.system.units import parse_duration

HERE = Path(__file__).parent
PLAIN = [sys.executable, str(HERE / "plain_unet.py")]
SLOWER = [sys.executable, str(HERE / "slower_machine.py")]
TIMED = 12
"""Steps of the plain U-Net that are timed as on a slower machine."""
PLAIN_SAFETY = 0.97
"""Share of the budget that the plain U-Net plans for."""


class RunError(RuntimeError):
    """A process ended with another status than 0."""


@dataclass(frozen=True)
class Task:
    """What is trained, and where its files are."""

    sets: Path
    results: Path
    name: str
    budget: str
    seed: int
    fold: int
    method: str
    """``ours`` or ``plain``."""
    variant: str = ""
    edits: tuple[str, ...] = ()
    """``FIELD=VALUE`` of the configuration."""
    machine: str | None = None
    """The slower machine that is emulated."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What no two rows share."""
        return (self.name, self.budget, self.seed, self.fold, self.method, self.variant, self.machine)

    @property
    def dataset(self) -> Path:
        """Folder of the set."""
        return self.sets / self.name

    @property
    def configuration(self) -> str:
        """Pictures are trained in 2D, volumes in 3D."""
        ending = json.loads((self.dataset / "dataset.json").read_text())["file_ending"]
        return "3d_fullres" if ending == ".nii.gz" else "2d"

    @property
    def workspace(self) -> Path:
        """Where autoseg works: a workspace for each plan."""
        parts = [self.name, self.budget, self.variant, self.machine]
        return self.results / "workspaces" / "-".join(part for part in parts if part)

    @property
    def slower(self) -> Mapping[str, str]:
        """Environment of the machine that is emulated."""
        return MACHINES[self.machine] if self.machine else {}


@dataclass(frozen=True)
class Row:
    """What a training reached."""

    name: str
    budget: str
    seed: int
    fold: int
    method: str
    variant: str
    machine: str | None
    """The slower machine that is emulated, or None: measured here."""
    dice: float
    steps: int
    seconds: float
    """Of the whole command; where a machine is emulated, what the command would take there."""
    wall: float
    """What the command took here."""
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """The key of the task."""
        return (self.name, self.budget, self.seed, self.fold, self.method, self.variant, self.machine)


def run_task(task: Task) -> Row:
    """Train and validate; raise :class:`RunError` with the end of what a failed command said."""
    return _plain(task) if task.method == "plain" else _ours(task)


def _ours(task: Task) -> Row:
    _prepare(task)
    command = [*AUTOSEG, "train-fold", str(task.workspace), task.configuration, str(task.fold)]
    command += ["--seed", str(task.seed), "--restart"]
    plan = _essentials(task)
    if task.machine is None:
        wall = _run([*command, "--time-budget", task.budget])[0]
        return _row(task, _reached(task), wall, wall, plan)
    timing = Timing(**_remembered(_timing_file(task, task.workspace.name), lambda: _time_ours(task)))
    steps = affordable_steps(timing, parse_duration(task.budget))
    # The steps are those of the slower machine; the fast way to make them is that of this one.
    _set_precision(task, "bfloat16")
    wall = _run([*command, "--iterations", str(steps)])[0]
    return _row(task, _reached(task), timing.whole(steps), wall, plan | {"timing": asdict(timing)})


def _prepare(task: Task) -> None:
    """Plan, change the plan, and preprocess, once for each workspace."""
    noted = task.workspace / "benchmark.json"
    made_with = list(task.edits)
    if noted.exists():
        if json.loads(noted.read_text()) != made_with:
            raise RunError(f"variant '{task.variant}' of {task.name} was made with other fields; choose another name")
        return
    where = [str(task.dataset), "-w", str(task.workspace), "-c", task.configuration]
    _run([*AUTOSEG, "plan-and-preprocess", *where, "--time-budget", task.budget], task.slower)
    if task.edits:
        fields = [word for edit in task.edits for word in ("--set", f"{task.configuration}.{edit}")]
        _run([*AUTOSEG, "plan", str(task.workspace), *fields], task.slower)
        _run([*AUTOSEG, "preprocess", str(task.workspace)])
    noted.write_text(json.dumps(made_with))


def _time_ours(task: Task) -> dict[str, Any]:
    _set_precision(task, "float32")
    words = [str(task.workspace), task.configuration, str(task.fold)]
    found: dict[str, Any] = json.loads(_run([*SLOWER, *words], task.slower)[1].splitlines()[-1])
    return found


def _set_precision(task: Task, precision: str) -> None:
    file = task.workspace / "plan.json"
    plan = json.loads(file.read_text())
    plan["configurations"][task.configuration]["precision"] = precision
    file.write_text(json.dumps(plan, indent=1))


def _essentials(task: Task) -> dict[str, Any]:
    plan = json.loads((task.workspace / "plan.json").read_text())["configurations"][task.configuration]
    kept = {key: plan[key] for key in ("spacing", "patch_size", "batch_size")}
    precision = "float32" if task.machine else plan["precision"]
    return {**kept, "features": plan["network"].get("features"), "precision": precision}


def _reached(task: Task) -> tuple[float, int]:
    """Return mean Dice over the classes and the number of steps."""
    folder = task.workspace / "models" / task.configuration / "supervised" / f"fold_{task.fold}"
    summary = json.loads((folder / "validation" / "summary.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return summary["mean_dice"], last["step"]


def _plain(task: Task) -> Row:
    out = task.results / "plain" / "-".join(str(part) for part in task.key if part is not None)
    command = [*PLAIN, str(task.dataset), str(out), "--fold", str(task.fold), "--seed", str(task.seed)]
    if task.machine is None:
        wall = _run([*command, "--time-budget", task.budget])[0]
        return _row(task, _plain_reached(out), wall, wall, {})
    timing = _remembered(_timing_file(task, f"plain-{task.name}"), lambda: _time_plain(task, command, out))
    around = timing["before"] + timing["predictions"] + timing["measuring"]
    steps = max(1, int((PLAIN_SAFETY * parse_duration(task.budget) - around) / timing["step"]))
    wall = _run([*command, "--iterations", str(steps), "--bfloat16"])[0]
    return _row(task, _plain_reached(out), around + steps * timing["step"], wall, {"timing": timing})


def _time_plain(task: Task, command: Sequence[str], out: Path) -> dict[str, Any]:
    _run([*command, "--iterations", str(TIMED)], task.slower)
    found: dict[str, Any] = json.loads((out / "cost.json").read_text())
    return found


def _plain_reached(out: Path) -> tuple[float, int]:
    summary, cost = (json.loads((out / name).read_text()) for name in ("summary.json", "cost.json"))
    return summary["mean_dice"], cost["steps"]


def _row(task: Task, reached: tuple[float, int], seconds: float, wall: float, plan: dict[str, Any]) -> Row:
    dice, steps = reached
    return Row(
        name=task.name,
        budget=task.budget,
        seed=task.seed,
        fold=task.fold,
        method=task.method,
        variant=task.variant,
        machine=task.machine,
        dice=dice,
        steps=steps,
        seconds=round(seconds, 1),
        wall=round(wall, 1),
        plan=plan,
    )


def _timing_file(task: Task, name: str) -> Path:
    return task.results / "timings" / f"{name}-fold{task.fold}-{task.machine}.json"


def _remembered(file: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured once, or measure it and write it down."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure()))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Run a command to its end; return its seconds and what it printed."""
    begun = time.monotonic()
    together = {**os.environ, **(environment or {})}
    process = subprocess.run(command, check=False, capture_output=True, text=True, env=together)
    if process.returncode:
        said = (process.stdout + process.stderr)[-2000:]
        raise RunError(f"{' '.join(command)} failed with status {process.returncode}:\n{said}")
    return time.monotonic() - begun, process.stdout
