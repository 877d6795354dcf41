"""How much of its speed a training keeps beside another computing process, by how OpenMP's threads wait.

Run ``python benchmarks/busy_machine.py [--seconds 4] [--rounds 3]`` on a machine that does nothing else. Each setting
makes steps of a small U-Net in a process of its own, alone and beside one process that never sleeps, in turn. Half of
two processors is the fair share beside one other process. ``ours`` is what autoseg sets, which keeps each thread to a
core as well; the others leave the threads where the kernel puts them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

# Importing any of autoseg tells OpenMP how to wait, before PyTorch starts it.
from autoseg.system.processors import own_cores  # isort: skip
from machine import machine_line

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "as OpenMP has it": {"GOMP_SPINCOUNT": "300000", "OMP_PROC_BIND": "false"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000", "OMP_PROC_BIND": "false"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000", "OMP_PROC_BIND": "false"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_PROC_BIND": "false"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "ours": {},
}
"""Environments; where threads are placed by the user, autoseg does not place them."""
FEATURES = (8, 16, 32)
PATCH = (16, 32, 32)


def main() -> None:
    """Measure every setting, alone and in company, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps-of", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.preprocessing_of:
        print(_steps_a_second(options.seconds))
        return
    print(machine_line())
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in SETTINGS}
    for _ in range(options.rounds):
        for name, environment in SETTINGS.items():
            alone, beside = found[name]
            alone.append(_in_a_process(environment, options.seconds))
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
                beside.append(_in_a_process(environment, options.seconds))
                other.kill()
    print("| setting | steps a second, alone | beside one process | share kept |")
    print("| --- | --- | --- | --- |")
    for name, (alone, beside) in found.items():
        quiet, busy = statistics.median(alone), statistics.median(beside)
        print(f"| {name} | {quiet:.2f} | {busy:.2f} | {busy / quiet:.0%} |")


def _in_a_process(environment: Mapping[str, str], seconds: float) -> float:
    command = [sys.executable, __file__, "--steps-of", "--seconds", str(seconds)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _steps_a_second(seconds: float) -> float:
    import torch
    from torch.nn import functional as F

    from autoseg.learning.optimizers import optimizers
    from autoseg.networks import networks

    stages = len(FEATURES)
    spec = {"name": "unet", "features": FEATURES, "kernels": [[3] * 3] * stages}
    strides = [[1] * 3] + [[2] * 3] * (stages - 1)
    network = networks.build({**spec, "strides": strides}, in_channels=1, outputs=3, dimension=3)
    component = {"name": "muon", "learning_rate": 2e-3, "vector_learning_rate": 1e-3}
    optimizer = optimizers.build(component, parameters=network.parameters())
    images, labels = torch.randn(2, 1, *PATCH), torch.randint(0, 3, (2, *PATCH))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images)[0], labels).backward()
        optimizer.step()

    step()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        with own_cores():
            step()
        steps += 1
    return steps / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
