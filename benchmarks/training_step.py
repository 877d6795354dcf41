"""A training step on the CPU: autoseg's U-Net against nnU-Net's and the textbook's.

Run ``OMP_WAIT_POLICY=passive python benchmarks/training_step.py [--features 32 64 128 256] [--patch 40 56 40]
[--batch 2] [--threads 2] [--repeats 9]``. All make the same step (forward, Dice and cross-entropy with deep
supervision, backward, optimizer) on the same batch, in turn in one process. nnU-Net takes part where its package is
installed in the environment, bfloat16 where the processor computes it natively. nnU-Net has its SGD, the others AdamW.
``ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2`` before it makes a new processor
compute as one with AVX2 does.

"wall" is time by the clock, "processor" what all threads computed, which other programs on the machine disturb less;
the optimizer's share is of the latter. "times" says how many times faster than the first row a step is. Memory is by
how much the peak of a new process grows in two steps, above network and batch (Linux only).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nnunet_step
import torch
from machine import machine_line
from torch import nn
from torch.nn import functional as F

from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.networks import networks
from autoseg.system.devices import computes_bfloat16

CLASSES = 3
WARM_UP = 2
"""Steps that are not measured: they load libraries and prepare kernels."""
KINDS = (
    *(["nnU-Net float32"] if nnunet_step.IS_HERE else []),
    "textbook float32",
    "autoseg float32",
    *(["autoseg bfloat16"] if computes_bfloat16("cpu") else []),
)
Objective = Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]


@dataclass
class Step:
    """A training step and the seconds of each time that it was made."""

    network: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    bfloat16: bool
    batch: tuple[torch.Tensor, torch.Tensor]
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    optimizing: list[float] = field(default_factory=list)
    """Share of the processor's seconds that the optimizer takes."""

    def __call__(self) -> float:
        """Make the step and return its loss."""
        images, target = self.batch
        clock, start = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loss = self.objective(self.network(images), target)
        loss.backward()
        middle = time.process_time()
        self.optimizer.step()
        end = time.process_time()
        self.wall.append(time.perf_counter() - clock)
        self.processor.append(end - start)
        self.optimizing.append((end - middle) / (end - start))
        return float(loss.detach())


class Textbook(nn.Module):
    """The same U-Net of PyTorch's own layers; its parameters stand in the same order as autoseg's."""

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        encoder = [_stage(1, features[0], 1), *(_stage(*pair, 2) for pair in itertools.pairwise(features))]
        pairs = [(below, above) for above, below in itertools.pairwise(features)][::-1]
        self.encoder = nn.ModuleList(encoder)
        self.up = nn.ModuleList(nn.ConvTranspose3d(below, above, 2, 2) for below, above in pairs)
        self.decoder = nn.ModuleList(_stage(2 * above, above, 1) for _, above in pairs)
        self.heads = nn.ModuleList(nn.Conv3d(above, CLASSES, 1) for _, above in pairs)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return logits at each resolution of the decoder, finest first."""
        skips, logits = [], []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        for up, stage, head, skip in zip(self.up, self.decoder, self.heads, skips[-2::-1], strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
            logits.append(head(x))
        return logits[::-1]


class TextbookLoss:
    """Cross-entropy minus soft Dice, written with a one-hot target."""

    def __call__(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits [B,classes,*space] against classes [B,*space]."""
        probabilities = logits.softmax(1)
        hot = F.one_hot(target, CLASSES).movedim(-1, 1).float()
        overlap, total = (probabilities * hot).sum((2, 3, 4)), (probabilities + hot).sum((2, 3, 4))
        return F.cross_entropy(logits, target) - ((2 * overlap + 1e-5) / (total + 1e-5))[:, 1:].mean()


def main() -> None:
    """Print time and memory of each kind, and how many times it is as fast as the first."""
    options = _options()
    print(machine_line())
    torch.set_num_threads(options.threads)
    print(f"features {options.features}, patch {options.patch}, batch {options.batch}, {options.threads} threads")
    steps = {kind: make_step(kind, options) for kind in KINDS}
    lost = [{kind: step() for kind, step in steps.items()} for _ in range(WARM_UP + options.repeats)][-1]
    first = steps[KINDS[0]]
    print(
        f"{'':>18}  {'wall, s':>8}  {'times':>6}  {'processor, s':>12}  {'times':>6}  {'optimizer':>9}  "
        f"{'peak, MB':>8}  {'loss':>8}"
    )
    for kind, step in steps.items():
        print(
            f"{kind:>18}  {_median(step.wall):8.3f}  {_times(first.wall, step.wall):6.2f}  "
            f"{_median(step.processor):12.3f}  {_times(first.processor, step.processor):6.2f}  "
            f"{_median(step.optimizing):9.1%}  {_memory_of(kind, options) / 1024**2:8.0f}  {lost[kind]:8.4f}"
        )


def make_step(kind: str, options: argparse.Namespace) -> Step:
    """Return the step of a kind. Textbook and autoseg begin with the same weights."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 1, *options.patch, generator=generator)
    batch = images, torch.bucketize(images[:, 0], torch.tensor([0.5, 1.2]))
    network, objective, optimizer = _parts(kind.split(maxsplit=1)[0], options.features)
    return Step(network, objective, optimizer, kind.endswith("bfloat16"), batch)


def _parts(whose: str, features: Sequence[int]) -> tuple[nn.Module, Objective, torch.optim.Optimizer]:
    if whose == "nnU-Net":
        torch.manual_seed(0)
        network = nnunet_step.network(features, CLASSES)
        return network, nnunet_step.objective(len(features) - 1), nnunet_step.optimizer(network)
    network = _network(features)
    if whose == "autoseg":
        objective = DeepSupervision(losses.build({"name": "dice_cross_entropy"}))
        return network, objective, torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    network = _textbook_like(network, features)
    return network, DeepSupervision(TextbookLoss()), torch.optim.AdamW(network.parameters(), lr=1e-3)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, step in ((inputs, stride), (outputs, 1)):
        norm = nn.InstanceNorm3d(outputs, affine=True)
        layers += [nn.Conv3d(before, outputs, 3, step, 1), norm, nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


def _network(features: Sequence[int]) -> nn.Module:
    torch.manual_seed(0)
    spec = {"name": "unet", "features": features, "kernels": [[3] * 3] * len(features)}
    strides = [[1] * 3] + [[2] * 3] * (len(features) - 1)
    network: nn.Module = networks.build({**spec, "strides": strides}, in_channels=1, outputs=CLASSES, dimension=3)
    return network


def _textbook_like(network: nn.Module, features: Sequence[int]) -> nn.Module:
    textbook = Textbook(features)
    with torch.no_grad():
        for own, given in zip(textbook.parameters(), network.parameters(), strict=True):
            own.copy_(given)
    return textbook


def _median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds[WARM_UP:])


def _times(first: Sequence[float], own: Sequence[float]) -> float:
    """Return how many times faster than the first: the median over turns, in which both met the same load."""
    return statistics.median(a / b for a, b in zip(first[WARM_UP:], own[WARM_UP:], strict=True))


def _memory_of(kind: str, options: argparse.Namespace) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (kind, options))


def _growth(kind: str, options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    step = make_step(kind, options)
    before = _peak()
    step()
    step()
    return _peak() - before


def _peak() -> int:
    """Bytes that this process held at most; getrusage would count what its parent held before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 40])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
