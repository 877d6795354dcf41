"""One real training step to hold planned memory against, in a process of its own that has used none before."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.memory import format_bytes
from autoseg.plan import Configuration
from autoseg.records import from_plain, to_plain

STEPS = 2
"""The first step has no optimizer state yet."""


@dataclass(frozen=True)
class Verification:
    """Peak of a training step as planned and as measured."""

    planned_bytes: int
    measured_bytes: int

    @property
    def excess(self) -> float:
        """By how much of the measured peak the planned one is above it."""
        return self.planned_bytes / self.measured_bytes - 1


@dataclass(frozen=True)
class _Step:
    """What the other process is told."""

    configuration: Configuration
    dataset: Dataset
    device: str


def verify_memory(configuration: Configuration, dataset: Dataset, *, device: str) -> Verification:
    """Count a training step and make a real one on ``device``.

    What is measured is the peak of resident memory above that of a process that has loaded its libraries; on a GPU it
    is what PyTorch's allocator gave out. Raises :class:`PlanError` where the step does not come to its end.
    """
    from autoseg.planners.memory import batch_cost

    planned = batch_cost(configuration, dataset).peak_bytes(configuration.batch_size)
    step = _Step(configuration, replace(dataset, cases=(), groups={}, annotated={}), device)
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name],
        input=json.dumps(to_plain(step)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"it was killed by signal {-done.returncode}, as when memory runs out"
        raise PlanError(
            f"a real step on {device}, planned to take {format_bytes(planned)}, did not come to its end: {reason}; "
            "plan with less --memory"
        )
    return Verification(planned, int(done.stdout.split()[-1]))


def _measured_peak(step: _Step) -> int:
    """Train :data:`STEPS` steps on random numbers; return the peak in bytes above what was there before."""
    import torch

    from autoseg.networks.build import build_network, input_channels, output_size
    from autoseg.trainers.learner import build_learner, learning_step
    from autoseg.trainers.loader import Batch

    configuration, device = step.configuration, torch.device(step.device)
    _load_libraries(configuration, device)
    before = 0 if device.type == "cuda" else _peak_resident()
    network = build_network(configuration, step.dataset).to(device)
    learner = build_learner(configuration, network, device=device)
    generator = torch.Generator().manual_seed(0)
    count, patch = configuration.batch_size, configuration.patch_size
    labelled = (count, *output_size(patch, network.margin))
    labels = torch.randint(0, len(step.dataset.values) + 1, labelled, generator=generator)
    images = torch.randn(count, input_channels(configuration, step.dataset), *patch, generator=generator)
    batch = Batch(images.to(device), labels.to(device))
    for _ in range(STEPS):
        learning_step(learner, batch, 1.0)
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else _peak_resident() - before


def _load_libraries(configuration: Configuration, device: Any) -> None:
    """Compute a little of each kind, so that what libraries keep for themselves is not counted."""
    import torch

    layer = torch.nn.Conv3d(2, 2, 3).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=configuration.precision == "bfloat16"):
        layer(torch.zeros(1, 2, 8, 8, 8, device=device)).sum().backward()


def _peak_resident() -> int:
    """Bytes that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    # Where there is no such file, on macOS, the unit is a byte.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Read what to measure from standard input; write the bytes to standard output."""
    step = from_plain(_Step, json.load(sys.stdin), source="standard input", error=PlanError)
    sys.stdout.write(f"{_measured_peak(step)}\n")


if __name__ == "__main__":
    main()
