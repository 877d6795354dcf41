"""Training steps of networks with depthwise convolutions or PReLU on a CPU: autoseg's gradients against PyTorch's.

Run ``python benchmarks/gradients.py [--repeats 5]``. Forward and backward in bfloat16, in turn in one process
with the same weights; the medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from unittest.mock import patch

import torch
from torch import nn

from autoseg.networks import depthwise, networks, prelu
from autoseg.registry import Component

Step = tuple[Component, int, tuple[int, ...]]
"""A network, the batch and the patch."""


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print("| network | patches | PyTorch's gradients | autoseg's | times |\n| --- | --- | --- | --- | --- |")
    for spec, batch, patch_size in cases():
        theirs, ours = compared(spec, batch, patch_size, repeats)
        said = ", ".join(f"{key} {spec[key]}" for key in ("features", "depth", "patch", "kernel") if key in spec)
        kernel = f", kernel {spec['kernels'][0][0]}" if "kernels" in spec else ""
        size = "×".join(map(str, patch_size))
        row = [f"{spec['name']}: {said}{kernel}", f"{batch} of {size}", f"{theirs:.3f} s", f"{ours:.3f} s"]
        print(f"| {' | '.join(row)} | {theirs / ours:.2f} |", flush=True)


def cases() -> list[Step]:
    """List steps, first those with depthwise convolutions."""
    small, flat = (40, 56, 40), (256, 256)
    mixer: Component = {"name": "convmixer", "depth": 20}
    dense: Component = {"name": "hyperdense", "features": [12] * 3 + [25] * 3 + [37] * 3, "classifier": [200, 100, 75]}
    medic: Component = {"name": "deepmedic", "features": [30, 30, 40, 40, 40, 40, 50, 50], "hidden": [150, 150]}
    return [
        (mednext(8, 3, 3), 2, small),
        (mednext(16, 3, 3), 2, small),
        (mednext(16, 5, 3), 2, small),
        (mednext(32, 3, 3), 2, small),
        (mednext(32, 5, 2), 2, flat),
        ({**mixer, "features": 64, "patch": 4, "kernel": 5, "decoded_features": 25}, 2, small),
        ({**mixer, "features": 128, "patch": 7, "kernel": 9, "decoded_features": 50}, 2, flat),
        (dense, 2, (27, 27, 27)),
        ({**medic, "factors": [[1] * 3, [3] * 3]}, 10, (57, 57, 57)),
        ({**stages("vnet", 8, 5, 3), "convolutions": [1, 2, 3, 3], "normalization": "instance"}, 2, small),
    ]


def mednext(first_features: int, kernel: int, dimension: int) -> Component:
    """Describe a MedNeXt S of four stages."""
    return stages("mednext", first_features, kernel, dimension)


def stages(name: str, first_features: int, kernel: int, dimension: int) -> Component:
    """Describe a network of four stages."""
    return {
        "name": name,
        "features": [first_features * 2**stage for stage in range(4)],
        "kernels": [[kernel] * dimension] * 4,
        "strides": [[1] * dimension, *[[2] * dimension] * 3],
    }


def compared(spec: Component, batch: int, patch_size: Sequence[int], repeats: int) -> tuple[float, float]:
    """Return the median time of a step with PyTorch's gradients and with autoseg's."""
    torch.manual_seed(0)
    network = networks.build(spec, in_channels=1, outputs=3, dimension=len(patch_size)).train()
    images = torch.randn(batch, 1, *patch_size)
    theirs, ours = [], []
    for _ in range(repeats + 1):
        with (
            patch.object(depthwise, "_is_worth_it", lambda *_: False),
            patch.object(prelu, "_is_worth_it", lambda *_: False),
        ):
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
