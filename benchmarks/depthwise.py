"""Training steps of networks with depthwise convolutions on a CPU: autoseg's gradients against PyTorch's.

Run ``python benchmarks/depthwise.py [--repeats 5]``. Forward and backward in bfloat16, a batch of two, in turn in one
process with the same weights; the medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from unittest.mock import patch

import torch
from torch import nn

from autoseg.networks import depthwise, networks
from autoseg.plan import Component

BATCH = 2


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print("| network | patch | PyTorch's gradients | autoseg's | times |\n| --- | --- | --- | --- | --- |")
    for spec, patch_size in cases():
        theirs, ours = compared(spec, patch_size, repeats)
        said = ", ".join(f"{key} {spec[key]}" for key in ("features", "depth", "patch", "kernel") if key in spec)
        kernel = f", kernel {spec['kernels'][0][0]}" if "kernels" in spec else ""
        size = "×".join(map(str, patch_size))
        print(f"| {spec['name']}: {said}{kernel} | {size} | {theirs:.3f} s | {ours:.3f} s | {theirs / ours:.2f} |")


def cases() -> list[tuple[Component, tuple[int, ...]]]:
    """List networks and patches."""
    small, flat = (40, 56, 40), (256, 256)
    mixer: Component = {"name": "convmixer", "depth": 20}
    return [
        (mednext(8, 3, 3), small),
        (mednext(16, 3, 3), small),
        (mednext(16, 5, 3), small),
        (mednext(32, 3, 3), small),
        (mednext(32, 5, 2), flat),
        ({**mixer, "features": 64, "patch": 4, "kernel": 5, "decoded_features": 25}, small),
        ({**mixer, "features": 128, "patch": 7, "kernel": 9, "decoded_features": 50}, flat),
    ]


def mednext(first_features: int, kernel: int, dimension: int) -> Component:
    """Describe a MedNeXt S of four stages."""
    return {
        "name": "mednext",
        "features": [first_features * 2**stage for stage in range(4)],
        "kernels": [[kernel] * dimension] * 4,
        "strides": [[1] * dimension, *[[2] * dimension] * 3],
    }


def compared(spec: Component, patch_size: Sequence[int], repeats: int) -> tuple[float, float]:
    """Return the median time of a step with PyTorch's gradients and with autoseg's."""
    torch.manual_seed(0)
    network = networks.build(spec, in_channels=1, outputs=3, dimension=len(patch_size)).train()
    images = torch.randn(BATCH, 1, *patch_size)
    theirs, ours = [], []
    for _ in range(repeats + 1):
        with patch.object(depthwise, "_is_worth_it", lambda *_: False):
            theirs.append(seconds(network, images))
        ours.append(seconds(network, images))
    # The first step of each does not count.
    return statistics.median(theirs[1:]), statistics.median(ours[1:])


def seconds(network: nn.Module, images: torch.Tensor) -> float:
    """Time one forward and backward."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    sum(level.float().square().mean() for level in logits).backward()
    network.zero_grad()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
