"""Measurement of a real training step in a new process, to verify the planned memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.files.records import from_plain, to_plain
from autoseg.plan.schema import Configuration
from autoseg.system.memory import format_bytes

STEPS = 2
"""Two steps, because the optimizer's state does not exist before the first step."""


@dataclass(frozen=True)
class Verification:
    """Peak of a training step as planned and as measured."""

    planned_bytes: int
    measured_bytes: int

    @property
    def excess(self) -> float:
        """Relative excess of the planned peak over the measured one."""
        return self.planned_bytes / self.measured_bytes - 1


@dataclass(frozen=True)
class _Step:
    """Input of the measuring process."""

    configuration: Configuration
    dataset: Dataset
    device: str


def verify_memory(configuration: Configuration, dataset: Dataset, *, device: str) -> Verification:
    """Count the memory of a training step and measure that of a real step on ``device``.

    On a CPU, the measurement is the peak of resident memory, less the peak after loading the libraries. On a GPU, it is
    the peak of PyTorch's allocator. Raises :class:`PlanError` if the real step fails.
    """
    from autoseg.learning.costs.memory import batch_cost

    planned = batch_cost(configuration, dataset).peak_bytes(configuration.batch_size)
    step = _Step(configuration, dataset, device)
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name],
        input=json.dumps(to_plain(step)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"signal {-done.returncode} killed it, probably because memory ran out"
        raise PlanError(
            f"a real step on {device}, planned with {format_bytes(planned)}, failed: {reason}; plan with less --memory"
        )
    return Verification(planned, int(done.stdout.split()[-1]))


def _measured_peak(step: _Step) -> int:
    """Train :data:`STEPS` steps on random numbers; return by how many bytes the peak memory grows."""
    import torch

    from autoseg.learning.costs.blank import blank_batches, blank_step
    from autoseg.learning.learner import build_learner, learning_step
    from autoseg.learning.trainer import Task, build_trainer
    from autoseg.networks.build import build_network

    configuration, dataset, device = step.configuration, step.dataset, torch.device(step.device)
    _load_libraries(configuration, device)
    before = 0 if device.type == "cuda" else _peak_resident()
    network, trainer = build_network(configuration, dataset).to(device), build_trainer(configuration)
    learner = build_learner(Task(configuration, dataset, network, device), trainer)
    generator = torch.Generator().manual_seed(0)
    batches = blank_batches(
        trainer.streams(configuration, dataset),
        configuration,
        dataset,
        network,
        images=lambda shape: torch.randn(shape, generator=generator).to(device),
        labels=lambda shape: torch.randint(0, len(dataset.values) + 1, shape, generator=generator).to(device),
    )
    for number in range(STEPS):
        learning_step(learner, batches, blank_step(number))
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else _peak_resident() - before


def _load_libraries(configuration: Configuration, device: Any) -> None:
    """Run a small convolution forward and backward, so that the memory of the libraries is not counted."""
    import torch

    layer = torch.nn.Conv3d(2, 2, 3).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=configuration.precision == "bfloat16"):
        layer(torch.zeros(1, 2, 8, 8, 8, device=device)).sum().backward()


def _peak_resident() -> int:
    """Peak of the resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    # Without that file, as on macOS, the unit is a byte.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Read the step to measure from standard input; write its peak in bytes to standard output."""
    step = from_plain(_Step, json.load(sys.stdin), source="standard input", error=PlanError)
    sys.stdout.write(f"{_measured_peak(step)}\n")


if __name__ == "__main__":
    main()
