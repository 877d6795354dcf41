"""Make the data sets of ``short_budgets.py``: small and large objects, thin ones, volumes, slices and photographs.

    python benchmarks/short_sets.py DATA FOLDER [--sets hippocampus vessels]

DATA holds the real data (``hippocampus``, ``sts_petct``, ``nuclei_2d``), which is only read. Each set becomes a folder
in nnU-Net's layout in FOLDER; one that is there is kept. The same call makes the same files.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from made_vessels import made_photograph
from PIL import Image
from scipy import ndimage
from tifffile import imwrite

from autoseg.images.volumes import read_labels, read_volume

HIPPOCAMPUS_CASES = 60
COLOURS = ("red", "green", "blue")
PETCT_SLICES, PETCT_ZOOM = 8, 4
HIPPOCAMPUS_SLICES, HIPPOCAMPUS_ZOOM = 3, 10
GRAIN = 6.0
"""Deviation of the noise that is added to enlarged slices, which have none of their own any more; white is 255."""
PHOTOGRAPHS = 25
SEED = 20


@dataclass
class Made:
    """What is said of a set when all its files are there."""

    channels: Sequence[str]
    labels: Mapping[str, int]
    ending: str = ".png"
    groups: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write dataset.json."""
        description = {
            "channel_names": {str(number): name for number, name in enumerate(self.channels)},
            "labels": {"background": 0, **self.labels},
            "numTraining": len(list((folder / "labelsTr").iterdir())),
            "file_ending": self.ending,
            **({"groups": self.groups} if self.groups else {}),
        }
        (folder / "dataset.json").write_text(json.dumps(description, indent=1))


def hippocampus(data: Path, folder: Path) -> Made:
    """Copy the first cases: volumes with two small objects."""
    _copy(_first(data / "hippocampus" / "imagesTr"), folder / "imagesTr")
    _copy(_first(data / "hippocampus" / "labelsTr"), folder / "labelsTr")
    return Made(["MRI"], {"anterior": 1, "posterior": 2}, ".nii.gz")


def petct(data: Path, folder: Path) -> Made:
    """Copy all cases of tumours in CT and PET."""
    for name in ("imagesTr", "labelsTr"):
        _copy(sorted((data / "sts_petct" / name).iterdir()), folder / name)
    return Made(["CT", "PET"], {"tumour": 1}, ".nii.gz")


def nuclei(data: Path, folder: Path) -> Made:
    """Copy the pictures of nuclei: of several sizes, with many small objects each."""
    for name in ("imagesTr", "labelsTr"):
        _copy(sorted((data / "nuclei_2d" / name).iterdir()), folder / name)
    return Made(COLOURS, {"nucleus": 255})


def outlines(data: Path, folder: Path) -> Made:
    """Copy the same pictures; the label is an outline of the nuclei, 3 pixels wide."""
    _copy(sorted((data / "nuclei_2d" / "imagesTr").iterdir()), folder / "imagesTr")
    for path in sorted((data / "nuclei_2d" / "labelsTr").iterdir()):
        nucleus = read_labels(path)[0][0] > 0
        edge = nucleus & ~ndimage.binary_erosion(nucleus, border_value=1)
        _save(folder / "labelsTr" / path.name, ndimage.binary_dilation(edge, np.ones((3, 3))).astype(np.uint8))
    return Made(COLOURS, {"outline": 1})


def petct_slices(data: Path, folder: Path) -> Made:
    """Cut and enlarge axial slices through tumours: large pictures with one object of middle size."""
    made = Made(["CT", "PET"], {"tumour": 1}, ".tif")
    for path in sorted((data / "sts_petct" / "labelsTr").iterdir()):
        patient = path.name.removesuffix(".nii.gz")
        files = [data / "sts_petct" / "imagesTr" / f"{patient}_{number:04d}.nii.gz" for number in range(2)]
        volume, labels = read_volume(files).array, read_labels(path)[0]
        for z in _spread(labels, PETCT_SLICES):
            name = f"{patient}_{z:03d}"
            for number, channel in enumerate(volume[:, z]):
                imwrite(folder / "imagesTr" / f"{name}_{number:04d}.tif", _enlarged(channel, PETCT_ZOOM))
            imwrite(folder / "labelsTr" / f"{name}.tif", _enlarged_labels(labels[z], PETCT_ZOOM))
            made.groups[name] = patient
    return made


def hippocampus_large(data: Path, folder: Path) -> Made:
    """Cut sagittal slices and enlarge them much: large smooth objects in large pictures, as photographs of skin are.

    Both parts of the hippocampus are one class, since a slice does not show where one ends.
    """
    made, rng = Made(["grey"], {"hippocampus": 1}), np.random.default_rng(SEED)
    for path in _first(data / "hippocampus" / "labelsTr"):
        case = path.name.removesuffix(".nii.gz")
        volume = read_volume([data / "hippocampus" / "imagesTr" / f"{case}_0000.nii.gz"]).array[0]
        slices, masks = np.moveaxis(volume, 2, 0), np.moveaxis(read_labels(path)[0] > 0, 2, 0)
        for x in _spread(masks, HIPPOCAMPUS_SLICES + 2)[1:-1]:
            name = f"{case}_{x:03d}"
            _save(folder / "imagesTr" / f"{name}_0000.png", _photograph(slices[x], rng))
            _save(folder / "labelsTr" / f"{name}.png", _enlarged_labels(masks[x], HIPPOCAMPUS_ZOOM))
            made.groups[name] = case
    return made


def vessels(data: Path, folder: Path) -> Made:
    """Draw pictures like photographs of a retina; ``data`` is not needed."""
    for number in range(PHOTOGRAPHS):
        picture, labels = made_photograph(np.random.default_rng((SEED, number)))
        _save(folder / "imagesTr" / f"retina_{number:02d}.png", picture)
        _save(folder / "labelsTr" / f"retina_{number:02d}.png", labels)
    return Made(COLOURS, {"vessel": 1})


SETS: dict[str, Callable[[Path, Path], Made]] = {
    make.__name__: make for make in (hippocampus, petct, nuclei, outlines, petct_slices, hippocampus_large, vessels)
}


def _first(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())[:HIPPOCAMPUS_CASES]


def _copy(paths: Sequence[Path], folder: Path) -> None:
    for path in paths:
        shutil.copyfile(path, folder / path.name)


def _save(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path)


def _spread(labels: np.ndarray, count: int) -> list[int]:
    """Return ``count`` slices, or all if there are fewer, spread evenly over those with a label."""
    found = np.flatnonzero(labels.any(axis=(1, 2)))
    return [int(found[i]) for i in np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))]


def _enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    return ndimage.zoom(picture, factor, order=3, mode="nearest", grid_mode=True).astype(np.float32)


def _enlarged_labels(labels: np.ndarray, factor: int) -> np.ndarray:
    """Interpolate each label linearly, smooth it by half a pixel of before, and take the label that is highest."""
    masks = [(labels == value).astype(np.float32) for value in range(int(labels.max()) + 1)]
    large = [ndimage.zoom(mask, factor, order=1, mode="nearest", grid_mode=True) for mask in masks]
    return np.argmax([ndimage.gaussian_filter(mask, factor / 2) for mask in large], axis=0).astype(np.uint8)


def _photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an enlarged slice in grey values, with grain."""
    large = _enlarged(picture, HIPPOCAMPUS_ZOOM)
    low, high = np.percentile(large, (0.5, 99.5))
    grey = 20 + 215 * (large - low) / (high - low) + rng.normal(0, GRAIN, large.shape)
    return np.clip(grey, 0, 255).round().astype(np.uint8)


def make_sets(data: Path, folder: Path, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Make the sets that are not there yet; yield the name and number of cases of each.

    A set is made beside its place and renamed in the end, so that none is ever there in part.
    """
    for name in names:
        place = folder / name
        if not place.exists():
            unfinished = folder / f".partial-{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in ("imagesTr", "labelsTr"):
                (unfinished / part).mkdir(parents=True)
            SETS[name](data, unfinished).write(unfinished)
            unfinished.rename(place)
        yield name, len(list((place / "labelsTr").iterdir()))


def main() -> None:
    """Read the command line and make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    options = parser.parse_args()
    for name, count in make_sets(options.data, options.folder, options.sets):
        print(f"{name}: {count} cases", flush=True)


if __name__ == "__main__":
    main()
