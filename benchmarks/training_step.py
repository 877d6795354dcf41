"""One training step of the same network and batch: textbook PyTorch in float32 against autoseg, taken in turn.

    python benchmarks/training_step.py [--repeats 7] [--patch 40 56 40] [--batch 2]

The textbook U-Net is built here from torch.nn alone and trained by AdamW; ours is what a plan names, in bfloat16
where the device computes it natively, with the optimizer that plans for short trainings take.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from autoseg.augmentation import build_augmentation
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.networks import networks
from autoseg.planners.recipe import training
from autoseg.planners.resources import computes_bfloat16
from autoseg.trainers.optimizers import optimizers

FEATURES = (32, 64, 128, 256)
CLASSES = 3


def block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """Return convolution, normalization and activation, as any tutorial has them."""
    return [nn.Conv3d(inputs, outputs, 3, stride, 1), nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01)]


class TextbookUNet(nn.Module):
    """The same network from torch.nn alone."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *FEATURES)
        self.down = nn.ModuleList(
            nn.Sequential(*block(inputs[i], f, 1 if i == 0 else 2), *block(f, f)) for i, f in enumerate(FEATURES)
        )
        pairs = list(zip(FEATURES[:0:-1], FEATURES[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, f, 2, 2) for deep, f in pairs)
        self.join = nn.ModuleList(nn.Sequential(*block(2 * f, f), *block(f, f)) for _, f in pairs)
        self.heads = nn.ModuleList(nn.Conv3d(f, CLASSES, 1) for _, f in pairs)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return logits, finest first."""
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        logits = []
        for index, (up, join, head) in enumerate(zip(self.up, self.join, self.heads, strict=True)):
            x = join(torch.cat([up(x), skips[-2 - index]], 1))
            logits.append(head(x))
        return logits[::-1]


def textbook_loss(logits: Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Dice and cross-entropy with one-hot targets at every resolution but the coarsest."""
    total = torch.zeros(())
    for weight, level in zip((2 / 3, 1 / 3), logits, strict=False):
        labels = F.interpolate(target[:, None].float(), level.shape[2:], mode="nearest")[:, 0].long()
        probabilities, hot = level.softmax(1), F.one_hot(labels, CLASSES).movedim(-1, 1).float()
        overlap, size = (probabilities * hot).sum((2, 3, 4)), (probabilities + hot).sum((2, 3, 4))
        dice = ((2 * overlap + 1e-5) / (size + 1e-5))[:, 1:].mean()
        total = total + weight * (F.cross_entropy(level, labels) - dice)
    return total


def textbook_step(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Return a function that makes one step of the textbook."""
    network = TextbookUNet()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        textbook_loss(network(images), labels).backward()
        optimizer.step()

    return step


def autoseg_step(images: torch.Tensor, labels: torch.Tensor, precision: str) -> Callable[[], None]:
    """Return a function that makes one step of ours."""
    strides = [[1] * 3] + [[2] * 3] * (len(FEATURES) - 1)
    spec = {"name": "unet", "features": FEATURES, "kernels": [[3] * 3] * len(FEATURES), "strides": strides}
    network = networks.build(spec, in_channels=1, outputs=CLASSES, dimension=3)
    loss = DeepSupervision(losses.build({"name": "dice_cross_entropy"}))
    optimizer = optimizers.build(training(3600.0).optimizer, parameters=network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            value = loss(network(images), labels)
        value.backward()
        optimizer.step()

    return step


def augmentation_step(patch: tuple[int, ...], batch: int) -> Callable[[], None]:
    """Return a function that draws and augments a batch, as training does before every step."""
    augment = build_augmentation(
        {"name": "default"}, dimension=3, patch_size=patch, spacing=(1.0,) * 3, mirror_axes=(0, 1, 2), channels=1
    )
    counter = iter(range(10**9))

    def step() -> None:
        drawn = [augment.sample(np.random.default_rng([0, next(counter)])) for _ in range(batch)]
        sizes = [augment.source_size(parameters) for parameters in drawn]
        images = [torch.zeros(1, *size) for size in sizes]
        augment.apply(images, [torch.zeros(size, dtype=torch.int16) for size in sizes], drawn)

    return step


def seconds(step: Callable[[], None], times: int = 1) -> float:
    """Time a step."""
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times


def main() -> None:
    """Read the command line, measure in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--patch", type=int, nargs=3, default=(40, 56, 40))
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    images = torch.randn(options.batch, 1, *options.patch)
    labels = torch.randint(0, CLASSES, (options.batch, *options.patch))
    precision = "bfloat16" if computes_bfloat16("cpu") else "float32"
    textbook, ours = textbook_step(images, labels), autoseg_step(images, labels, precision)
    augment = augmentation_step(tuple(options.patch), options.batch)
    rows = []
    for index in range(options.repeats + 1):
        row = seconds(textbook), seconds(ours), seconds(augment, times=20)
        if index:
            rows.append(row)
    theirs, mine, data = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(row[0] / row[1] for row in rows)
    print(f"textbook float32 {theirs:.3f} s, autoseg {precision} {mine:.3f} s: {ratio:.2f} times as fast")
    print(f"augmentation {1000 * data:.1f} ms a batch, {100 * data / mine:.1f} % of a step")


if __name__ == "__main__":
    main()
