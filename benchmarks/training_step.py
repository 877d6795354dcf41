"""A training step on the CPU: autoseg's U-Net in bfloat16 against the textbook's in float32.

Run ``OMP_WAIT_POLICY=passive python benchmarks/training_step.py [--features 32 64 128 256] [--patch 40 56 40]
[--batch 2] [--threads 2] [--repeats 9]``. Both make the same step (forward, Dice and cross-entropy with deep
supervision, backward, AdamW) on the same batch with the same weights, in turn in one process. "wall" is time by the
clock, "processor" what all threads computed, which other programs on the machine disturb less. Memory is by how much
the peak of a new process grows in two steps, above network and batch (Linux only).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.networks import networks

CLASSES = 3
KINDS = ("textbook float32", "autoseg float32", "autoseg bfloat16")
Step = Callable[[], float]


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
    """Print time and memory of each kind, and how many times ours is faster."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"features {options.features}, patch {options.patch}, batch {options.batch}, {options.threads} threads")
    steps = {kind: make_step(kind, options) for kind in KINDS}
    losses_of = {kind: [step(), step()] for kind, step in steps.items()}
    wall: dict[str, list[float]] = {kind: [] for kind in KINDS}
    processor: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.repeats):
        for kind, step in steps.items():
            clock, work = time.perf_counter(), time.process_time()
            losses_of[kind].append(step())
            processor[kind].append(time.process_time() - work)
            wall[kind].append(time.perf_counter() - clock)
    print(f"{'':>18}  {'wall, s':>8}  {'times':>6}  {'processor, s':>12}  {'times':>6}  {'peak, MB':>10}  {'loss':>9}")
    for kind in KINDS:
        print(
            f"{kind:>18}  {statistics.median(wall[kind]):8.3f}  {_times(wall, kind):6.2f}  "
            f"{statistics.median(processor[kind]):12.3f}  {_times(processor, kind):6.2f}  "
            f"{_memory_of(kind, options) / 1024**2:10.0f}  {losses_of[kind][-1]:9.4f}"
        )


def make_step(kind: str, options: argparse.Namespace) -> Step:
    """Return a function that makes one step and returns its loss."""
    network, textbook = _network(options.features), kind.startswith("textbook")
    if textbook:
        network = _textbook_like(network, options.features)
    objective = DeepSupervision(TextbookLoss() if textbook else losses.build({"name": "dice_cross_entropy"}))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=None if textbook else True)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 1, *options.patch, generator=generator)
    target = torch.bucketize(images[:, 0], torch.tensor([0.5, 1.2]))

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind.endswith("bfloat16")):
            loss = objective(network(images), target)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


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


def _times(seconds: dict[str, list[float]], kind: str) -> float:
    """Return how many times faster than the textbook: the median over turns, in which both met the same load."""
    return statistics.median(a / b for a, b in zip(seconds[KINDS[0]], seconds[kind], strict=True))


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
