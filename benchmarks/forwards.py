"""Voxels a second that a CPU predicts with so many tiles in one forward.

Run ``python benchmarks/forwards.py [--repeats 7]``. U-Nets of four stages, forward only, in bfloat16; the medians are
printed. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from autoseg.networks import networks

TILES = {
    (24, 24, 24): (1, 2, 4, 9),
    (32, 32, 32): (1, 2, 4),
    (40, 56, 40): (1, 2),
    (56, 40): (1, 4, 14, 28, 55),
    (128, 128): (1, 2, 4, 8),
    (256, 256): (1, 2),
}
"""How many of each size are tried at once."""


def main() -> None:
    """Print a row for each network and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print("| network | tile | tiles in one forward: millions of voxels a second |\n| --- | --- | --- |")
    for first_features in (16, 32):
        for tile, counts in TILES.items():
            network = unet(first_features, len(tile))
            speeds = ", ".join(f"{count}: {speed(network, (count, 1, *tile), repeats):.2f}" for count in counts)
            print(f"| {len(tile)}D, {first_features} features | {'×'.join(map(str, tile))} | {speeds} |", flush=True)


def unet(first_features: int, dimension: int) -> nn.Module:
    """Make a U-Net of four stages."""
    spec = {
        "name": "unet",
        "features": [first_features * 2**stage for stage in range(4)],
        "kernels": [[3] * dimension] * 4,
        "strides": [[1] * dimension, *[[2] * dimension] * 3],
    }
    return networks.build(spec, in_channels=1, outputs=3, dimension=dimension).eval()


def speed(network: nn.Module, shape: tuple[int, ...], repeats: int) -> float:
    """Return millions of voxels a second; the first forward does not count."""
    images = torch.randn(shape)
    took = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(repeats + 1):
            started = time.perf_counter()
            network(images)
            took.append(time.perf_counter() - started)
    return images.numel() / statistics.median(took[1:]) / 1e6


if __name__ == "__main__":
    main()
