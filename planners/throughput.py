"""How fast this machine trains a network: a few real steps of its finest stages, from which others are scaled."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autoseg.dataset import Dataset
from autoseg.networks.build import build_network, described_network, input_channels, output_size
from autoseg.plan import Component, Configuration
from autoseg.planners.memory import BatchCost
from autoseg.records import to_plain
from autoseg.trainers.learner import build_learner, change_weights, compute_gradients, learning_step
from autoseg.trainers.loader import Batch
from autoseg.trainers.optimizers import optimizers

TIMED_STAGES = 3
"""Stages that are timed: nearly all of a step's time goes there, and what they take and keep is little."""
TIMED_VOXELS = {"cpu": 40**3, "cuda": 128**3}
"""Voxels of the patch that is timed: a step takes some tenths of a second, and no core is left idle."""
TIMED_STEPS = 2
"""The quicker of them counts: what else the machine does only ever makes a step slower."""
FINEST = 1.1
"""Ratio between neighbouring figures: what wanders by less gives the same plan again."""


@dataclass(frozen=True)
class Throughput:
    """Floating-point operations a second with which a device trains a network."""

    samples: float
    """Forward and backward."""
    optimizer: float
    """Steps of optimizers that multiply matrices; others take next to no time."""

    def seconds(self, cost: BatchCost, batch: int) -> float:
        """Estimate the time of a step with ``batch`` samples."""
        return batch * cost.sample_flops / self.samples + cost.fixed_flops / self.optimizer


def throughput(configuration: Configuration, dataset: Dataset, device: str) -> Throughput:
    """Time training steps like those of a configuration on ``device``, once in a process for each kind of them."""
    described = replace(dataset, cases=(), groups={}, annotated={})
    network = described_network(configuration, described)
    timed = _small(configuration, TIMED_VOXELS.get(torch.device(device).type, TIMED_VOXELS["cuda"]), network)
    largest = max((tuple(parameter.shape) for parameter in network.parameters()), key=math.prod)
    key = json.dumps(to_plain((timed, largest, described, device)))
    if key not in _measured:
        _measured[key] = _time_steps(timed, largest, described, torch.device(device))
    return _measured[key]


_measured: dict[str, Throughput] = {}
"""What was measured in this process, by the text of what it was measured for."""


def _small(configuration: Configuration, most_voxels: int, network: nn.Module) -> Configuration:
    """Cut a configuration down to the finest stages of its network and a patch of about ``most_voxels``.

    Where the network has a margin, what is cut is what that leaves, which keeps two voxels of the coarsest pathway.
    """
    spec, margin = _finest_stages(configuration.network), cast(tuple[int, ...], network.margin)
    least = [2 * d if m else 1 for m, d in zip(margin, cast(tuple[int, ...], network.divisor), strict=True)]
    strides = spec.get("strides") or [[1] * configuration.dimension]
    steps = [math.prod(axis) for axis in zip(*strides, strict=True)]
    # A single one is too few for batch normalization, which a larger batch of the plan's patch may still suit.
    size = [max(n, fewest) for n, fewest in zip(output_size(configuration.patch_size, margin), least, strict=True)]
    while math.prod(n + 2 * m for n, m in zip(size, margin, strict=True)) > most_voxels:
        axis = size.index(max(size))
        if -(-size[axis] // 2) < least[axis]:
            break
        size[axis] = -(-size[axis] // 2)
    return replace(
        configuration,
        network=spec,
        patch_size=tuple(-(-n // step) * step + 2 * m for n, step, m in zip(size, steps, margin, strict=True)),
        batch_size=1,
        spacing=(None, 1.0, 1.0),
        median_shape=(1, 1, 1),
        augmentation={},
        # One more input channel for each class takes next to no time.
        previous_stage=None,
    )


def _finest_stages(network: Component) -> Component:
    """Leave out the coarser stages of a network whose lists have an entry for each; another one stays as it is."""
    stages = len(network.get("strides") or ())
    return {
        key: value[:TIMED_STAGES] if isinstance(value, list) and len(value) == stages else value
        for key, value in network.items()
    }


def _time_steps(timed: Configuration, largest: tuple[int, ...], dataset: Dataset, device: torch.device) -> Throughput:
    """Make training steps on zeros, and an optimizer's on a kernel of shape ``largest``; the first do not count."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(timed, dataset).to(device)
    learner = build_learner(timed, network, device=device)
    images = torch.zeros(1, input_channels(timed, dataset), *timed.patch_size, device=device)
    labelled = output_size(timed.patch_size, network.margin)  # type: ignore[arg-type]
    batch = Batch(images, torch.zeros(1, *labelled, dtype=torch.int64, device=device))
    with FlopCounterMode(display=False) as counter:
        compute_gradients(learner, batch)
    change_weights(learner, 1.0)
    step = _quickest(lambda: learning_step(learner, batch, 1.0), device)
    optimizer = _quickest(learner.optimizer.step, device)
    samples = counter.get_total_flops() / max(step - optimizer, 0.1 * step)
    return Throughput(_rounded(samples), _rounded(_optimizer_rate(timed, largest, device)))


def _optimizer_rate(configuration: Configuration, shape: tuple[int, ...], device: torch.device) -> float:
    """Return the operations a second with which the optimizer changes a kernel; infinity where it counts none."""
    kernel = nn.Parameter(torch.ones(shape, device=device))
    kernel.grad = torch.ones_like(kernel)
    optimizer = optimizers.build(configuration.training.optimizer, parameters=[kernel])
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    flops = counter.get_total_flops()
    return flops / _quickest(optimizer.step, device) if flops else math.inf


def _quickest(work: Callable[[], object], device: torch.device) -> float:
    """Time ``work``, done once before: on a CPU the time of its processors, which other programs do not lengthen."""
    return min(_seconds(work, device) for _ in range(TIMED_STEPS))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        work()
        return (time.process_time() - start) / torch.get_num_threads()
    _wait_for(device)
    begun = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - begun


def _wait_for(device: torch.device) -> None:
    (torch.mps if device.type == "mps" else torch.cuda).synchronize()


def _rounded(figure: float) -> float:
    return figure if math.isinf(figure) else float(FINEST ** round(math.log(figure, FINEST)))
