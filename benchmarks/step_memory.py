"""Peak memory of a real training step against the planned one, for networks and patches of many sizes.

    python benchmarks/step_memory.py            # on a CPU; the largest step takes about 8 GB and a minute
    python benchmarks/step_memory.py --gpu      # on a GPU, up to 80 GB

On a CPU the peak is that of resident memory above what a process with its libraries loaded has; on a GPU it is
``torch.cuda.max_memory_allocated``, which knows neither context nor slack: these are taken off the planned figure.
"""

from __future__ import annotations

import argparse

import torch

from autoseg.data.dataset import Dataset
from autoseg.errors import AutosegError
from autoseg.learning.costs.verification import verify_memory
from autoseg.learning.step_cost import LIBRARIES, MOST_SLACK
from autoseg.networks.residual_unet import residual_unet_spec
from autoseg.networks.unet import unet_spec
from autoseg.plan.schema import Configuration, voxels
from autoseg.planners.recipe import training
from autoseg.planners.topology import pad_to_divisor
from autoseg.system.memory import available_memory, format_bytes

FAMILIES = {"unet": unet_spec, "residual": residual_unet_spec}
CPU_POINTS = [
    ("unet", (40, 56, 40), 2, 32),
    ("unet", (64, 64, 64), 2, 32),
    ("unet", (64, 64, 64), 6, 16),
    ("unet", (96, 96, 96), 2, 32),
    ("unet", (16, 256, 256), 2, 32),
    ("unet", (128, 128, 128), 2, 32),
    ("unet", (256, 256), 8, 32),
    ("unet", (512, 512), 4, 32),
    ("residual", (64, 64, 64), 2, 32),
    ("residual", (96, 96, 96), 2, 32),
]
GPU_POINTS = [
    ("unet", (96, 96, 96), 2, 32),
    ("unet", (128, 128, 128), 2, 32),
    ("unet", (160, 160, 160), 2, 32),
    ("unet", (192, 192, 192), 2, 32),
    ("unet", (16, 320, 320), 4, 32),
    ("unet", (512, 512), 12, 32),
    ("unet", (512, 512), 64, 32),
    ("unet", (128, 128, 128), 8, 32),
    ("residual", (128, 128, 128), 2, 32),
    ("residual", (192, 160, 160), 2, 32),
    ("residual", (192, 192, 192), 3, 32),
    ("unet", (256, 256, 256), 4, 32),
]
DATASET = Dataset("made", ("MR",), {"background": 0, "a": 1, "b": 2}, ".nii.gz", ())


def configuration(family: str, patch: tuple[int, ...], batch: int, features: int, precision: str) -> Configuration:
    """Describe a network and its training step; ``patch`` must be one that the network divides."""
    padded, topology = pad_to_divisor(patch, (1.0,) * len(patch))
    if padded != patch:
        raise ValueError(f"{patch} is no patch that a network divides")
    return Configuration(
        dimension=2 if len(patch) == 2 else 3,
        spacing=(1.0, 1.0, 1.0),
        median_shape=(64, 64, 64),
        patch_size=patch,
        batch_size=batch,
        normalization=({"name": "none"},),
        network=FAMILIES[family](len(patch), topology, features),
        loss={"name": "dice_cross_entropy", "batch_dice": False},
        sampling={},
        augmentation={},
        training=training(600.0),
        precision="bfloat16" if precision == "bfloat16" else "float32",
    )


def main() -> None:
    """Print a line for each point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true")
    on_gpu = parser.parse_args().gpu
    device = "cuda" if on_gpu else "cpu"
    free = torch.cuda.mem_get_info()[0] if on_gpu else available_memory()
    print("| network | patch | batch | precision | planned | measured | planned is |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for family, patch, batch, features in sorted(
        GPU_POINTS if on_gpu else CPU_POINTS, key=lambda p: voxels(p[1]) * p[2]
    ):
        for precision in ("float32", "bfloat16"):
            made = configuration(family, patch, batch, features, precision)
            label = f"| {family}, {features} features | {'×'.join(map(str, patch))} | {batch} | {precision} |"
            try:
                found = verify_memory(made, DATASET, device=device)
            except AutosegError as error:
                print(f"{label} {error} |")
                continue
            planned = found.planned_bytes - (LIBRARIES + MOST_SLACK if on_gpu else 0)
            ratio = planned / found.measured_bytes - 1
            print(
                f"{label} {format_bytes(planned)} | {format_bytes(found.measured_bytes)} | {ratio:+.1%} |", flush=True
            )
    print(f"\n{format_bytes(free)} were free on {device}.")


if __name__ == "__main__":
    main()
