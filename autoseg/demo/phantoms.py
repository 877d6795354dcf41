"""Synthetic 3D phantoms with two channels, anisotropic spacing and oblique directions, for the demo and for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from autoseg.files.storage import write_json
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_labels, write_volume

LABELS = {"background": 0, "body": 1, "core": 2}
CHANNELS = {"0": "T1", "1": "T2"}

_NOISE = 0.25
_CONTRAST = ((0.2, 1.0, 0.6), (0.3, 0.5, 1.2))
"""Mean intensity of background, body and core, for each channel. One channel alone does not separate all three."""


def write_phantoms(
    folder: Path, *, training: int, testing: int, size: tuple[int, int, int] = (16, 48, 48), seed: int = 0
) -> None:
    """Write a dataset in nnU-Net's layout: imagesTr, labelsTr, imagesTs, labelsTs and dataset.json."""
    for index in range(training + testing):
        part = "Tr" if index < training else "Ts"
        image, labels, geometry = phantom(np.random.default_rng([seed, index]), size)
        name = f"phantom_{index:03d}"
        for channel, array in enumerate(image):
            write_volume(folder / f"images{part}" / f"{name}_{channel:04d}.nii.gz", array, geometry)
        write_labels(folder / f"labels{part}" / f"{name}.nii.gz", labels, geometry)
    description = {"channel_names": CHANNELS, "labels": LABELS, "numTraining": training, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", {"name": "phantoms", **description})


def phantom(rng: np.random.Generator, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Make one phantom: a bent ellipsoid with an off-centre core, with noise and a bias field.

    Returns image [2,Z,Y,X] float32, labels [Z,Y,X] uint8 and an oblique, anisotropic geometry.
    """
    shape = tuple(int(n * rng.uniform(0.85, 1.15)) for n in size)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    bend = rng.uniform(-0.3, 0.3) * (x**2)
    centre = rng.uniform(-0.15, 0.15, 3)
    radius = rng.uniform(0.45, 0.7, 3)
    distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip((z, y + bend, x), centre, radius, strict=True))
    offset = centre + rng.uniform(-0.12, 0.12, 3)
    core = sum(((axis - c) / (r * 0.5)) ** 2 for axis, c, r in zip((z, y + bend, x), offset, radius, strict=True))
    labels = (distance < 1).astype(np.uint8)
    labels[(core < 1) & (distance < 1)] = 2
    bias = np.exp(gaussian_filter(rng.normal(0, 1, shape), [n / 4 for n in shape]) * 8)
    image = np.stack([np.take(means, labels) * bias + rng.normal(0, _NOISE, shape) for means in _CONTRAST])
    return (100 * image).astype(np.float32), labels, _geometry(rng, labels.shape)


def _geometry(rng: np.random.Generator, shape: tuple[int, ...]) -> Geometry:
    angles = rng.uniform(-20, 20, 3)
    direction = tuple(float(n) for n in Rotation.from_euler("xyz", angles, degrees=True).as_matrix().ravel())
    z, y, x = shape
    in_plane = float(rng.choice([1.0, 1.1]))
    origin = tuple(float(n) for n in rng.uniform(-100, 100, 3).round(2))
    return Geometry(size=(z, y, x), spacing=(3.5, in_plane, in_plane), origin=origin, direction=direction, dimension=3)  # type: ignore[arg-type]
