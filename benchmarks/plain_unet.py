"""The yardstick: a plain U-Net as one writes it in an afternoon, trained and validated within a time budget.

    python benchmarks/plain_unet.py DATASET OUT --fold 0 --time-budget 3m --seed 0
    python benchmarks/plain_unet.py DATASET OUT --iterations 500 --bfloat16

DATASET is a folder in nnU-Net's layout, the folds are those of autoseg, and so is the measure. The budget is the wall
clock of the whole command: loading libraries, reading, training, predicting the validation cases and measuring them.
OUT gets the label maps and ``summary.json``, and ``cost.json`` with steps and seconds.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()

import argparse  # noqa: E402 - the clock starts before the libraries load
import itertools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import statistics  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from dataclasses import asdict, dataclass, replace  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from autoseg.data.dataset import Case, Dataset  # noqa: E402
from autoseg.data.kinds import labelled  # noqa: E402
from autoseg.data.layouts import load_dataset  # noqa: E402
from autoseg.data.optional_channels import read_case  # noqa: E402
from autoseg.data.splits import Fold, fold_cases, grouped, kfold  # noqa: E402
from autoseg.evaluation.folder import evaluate_folder  # noqa: E402
from autoseg.images.geometry import Geometry  # noqa: E402
from autoseg.images.volumes import read_labels, write_labels  # noqa: E402
from autoseg.system.units import parse_duration  # noqa: E402

FEATURES = (16, 32, 64, 128)
DIVISOR = 2 ** (len(FEATURES) - 1)
"""Sizes that the network takes are multiples of it."""
LEARNING_RATE = 1e-3
CROP = {2: 160, 3: 64}
BATCH = {2: 8, 3: 2}
LARGEST_VOLUME = 2_000_000
"""Voxels that are predicted at once; larger volumes are predicted in tiles."""
TILE = {2: 1024, 3: 96}
SECONDS_PER_CASE = 0.1
"""Writing a label map and measuring it, beside the network's time."""
SAFETY = 0.97
"""Share of the budget that is planned for."""


class PlainUNet(nn.Module):
    """Double convolutions, max pooling, transposed convolutions, and skip connections."""

    def __init__(self, inputs: int, outputs: int, dimension: int) -> None:
        super().__init__()
        up, pool = (nn.ConvTranspose2d, nn.MaxPool2d) if dimension == 2 else (nn.ConvTranspose3d, nn.MaxPool3d)
        wide = list(reversed(FEATURES))
        self.down = nn.ModuleList(
            _double(before, after, dimension) for before, after in itertools.pairwise((inputs, *FEATURES))
        )
        self.pool = pool(2)
        self.up = nn.ModuleList(up(below, above, 2, stride=2) for below, above in itertools.pairwise(wide))
        self.merge = nn.ModuleList(_double(2 * features, features, dimension) for features in wide[1:])
        self.head = (nn.Conv2d if dimension == 2 else nn.Conv3d)(FEATURES[0], outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of each class."""
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits


def _double(before: int, after: int, dimension: int) -> nn.Sequential:
    convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if dimension == 2 else (nn.Conv3d, nn.BatchNorm3d)
    layers: list[nn.Module] = []
    for inputs in (before, after):
        layers += [convolution(inputs, after, 3, padding=1, bias=False), norm(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Example:
    """A case in memory: image [C,…] with mean 0 and deviation 1 in each channel, labels […] as class numbers."""

    name: str
    image: torch.Tensor
    labels: torch.Tensor
    geometry: Geometry
    file: Path

    @property
    def space(self) -> tuple[int, ...]:
        """The size without channels."""
        return tuple(self.labels.shape)


@dataclass(frozen=True)
class Cost:
    """What a training took, in seconds."""

    steps: int
    before: float
    """From the start of the command to the first step."""
    step: float
    """The median step."""
    predictions: float
    """All validation cases, from images in memory to label maps on disk."""
    measuring: float
    whole: float
    """From the start of the command to its end."""


@dataclass(frozen=True)
class Setting:
    """What all parts of a training need to know."""

    dataset: Dataset
    dimension: int
    bfloat16: bool

    def scores(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return logits in float32."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits: torch.Tensor = network(images)
        return logits.float()


def the_fold(dataset: Dataset, number: int) -> Fold:
    """Return the fold as autoseg makes it."""
    names = labelled(dataset)
    return fold_cases(grouped(names, dataset.groups) if dataset.groups else kfold(names), number)


def read_example(case: Case, dataset: Dataset) -> Example:
    """Read a case; pictures lose their axis of one slice."""
    volume = read_case(case, len(dataset.channels))
    stored = read_labels(case.label or Path())[0]
    labels = np.zeros(stored.shape, np.int64)
    for number, value in enumerate(dataset.values, start=1):
        labels[stored == value] = number
    axes = tuple(range(1, 4))
    std = volume.array.std(axis=axes, keepdims=True)
    image = (volume.array - volume.array.mean(axis=axes, keepdims=True)) / np.maximum(std, 1e-6)
    if volume.geometry.dimension == 2:
        image, labels = image[:, 0], labels[0]
    tensors = torch.from_numpy(image.astype(np.float32)), torch.from_numpy(labels)
    return Example(case.name, *tensors, volume.geometry, case.images[0])


def crop_size(examples: Sequence[Example], dimension: int) -> tuple[int, ...]:
    """Return the size of crops; volumes that are smaller clip it, to a multiple of what the network halves."""
    if dimension == 2:
        return (CROP[2],) * 2
    smallest = [min(sizes) for sizes in zip(*(example.space for example in examples), strict=True)]
    return tuple(min(CROP[3], max(DIVISOR, n // DIVISOR * DIVISOR)) for n in smallest)


def random_batch(
    examples: Sequence[Example], size: tuple[int, ...], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut crops from random places of random cases and flip them at random."""
    crops = [_crop(examples[int(rng.integers(len(examples)))], size, rng) for _ in range(BATCH[len(size)])]
    images, labels = zip(*crops, strict=True)
    return torch.stack(images), torch.stack(labels)


def _crop(example: Example, size: tuple[int, ...], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    short = [max(0, wanted - n) for wanted, n in zip(size, example.space, strict=True)]
    image, labels = _padded(example.image, short), _padded(example.labels, short)
    corner = [int(rng.integers(n - wanted + 1)) for n, wanted in zip(labels.shape, size, strict=True)]
    place = tuple(slice(first, first + wanted) for first, wanted in zip(corner, size, strict=True))
    axes = [axis - len(size) for axis in range(len(size)) if rng.random() < 0.5]
    return image[(slice(None), *place)].flip(axes), labels[place].flip(axes)


def _padded(tensor: torch.Tensor, after: Sequence[int]) -> torch.Tensor:
    """Add zeros at the end of the last axes; the mean of an image and the background are 0."""
    return F.pad(tensor, [n for count in reversed(after) for n in (0, count)])


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus one minus the soft Dice of the foreground classes over the batch."""
    axes = (0, *range(2, logits.ndim))
    shares = logits.softmax(1)
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)
    dice = (2 * (shares * truth).sum(axes) + 1) / (shares.sum(axes) + truth.sum(axes) + 1)
    return F.cross_entropy(logits, labels) + 1 - dice[1:].mean()


def train(
    network: nn.Module,
    examples: Sequence[Example],
    setting: Setting,
    *,
    seed: int,
    iterations: int | None,
    until: float,
) -> list[float]:
    """Make steps until the clock says ``until`` or the number is reached; return the seconds of each."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rng, size = np.random.default_rng(seed), crop_size(examples, setting.dimension)
    seconds: list[float] = []
    network.train()
    while len(seconds) < iterations if iterations else _now() + statistics.median(seconds or [0.0]) < until:
        begun = _now()
        images, labels = random_batch(examples, size, rng)
        loss = loss_of(setting.scores(network, images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(_now() - begun)
    return seconds


@torch.inference_mode()
def predicted(network: nn.Module, example: Example, setting: Setting) -> torch.Tensor:
    """Return the label map of a whole image, in tiles that half overlap where it is large."""
    network.eval()
    image = _padded(example.image, [-n % DIVISOR for n in example.space])[None]
    space = tuple(image.shape[2:])
    if math.prod(space) <= LARGEST_VOLUME:
        scores = setting.scores(network, image)
    else:
        scores = torch.zeros(1, len(setting.dataset.values) + 1, *space)
        for place in tiles(space, TILE[setting.dimension]):
            everywhere = (slice(None), slice(None), *place)
            scores[everywhere] += setting.scores(network, image[everywhere])
    whole = tuple(slice(n) for n in example.space)
    return scores[0].argmax(0)[whole]


def tiles(space: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    """Yield tiles that half overlap and cover all."""
    starts = [sorted({min(first, max(0, n - size)) for first in range(0, n, size // 2)}) for n in space]
    for corner in itertools.product(*starts):
        yield tuple(slice(first, first + size) for first in corner)


def predict_all(network: nn.Module, examples: Sequence[Example], setting: Setting, folder: Path) -> None:
    """Write the label map of each case, with the values that the dataset has."""
    values = np.array([0, *setting.dataset.values])
    for example in examples:
        labels = values[predicted(network, example, setting).numpy()].reshape(example.geometry.size)
        name = f"{example.name}{setting.dataset.file_ending}"
        write_labels(folder / name, labels, example.geometry, like=example.file)


def time_for_predictions(network: nn.Module, examples: Sequence[Example], setting: Setting) -> float:
    """Predict the smallest and the largest case, and return the seconds that all of them take by that."""
    ordered = sorted(examples, key=lambda example: example.labels.numel())
    some = [ordered[0], ordered[-1]]
    begun = _now()
    for example in some:
        predicted(network, example, setting)
    rate = (_now() - begun) / sum(example.labels.numel() for example in some)
    return rate * sum(example.labels.numel() for example in examples) + SECONDS_PER_CASE * len(examples)


def _now() -> float:
    """Seconds since the command started."""
    return time.monotonic() - STARTED


def run(options: argparse.Namespace) -> tuple[float, Cost]:
    """Train on a fold, predict its validation cases, and return their mean Dice and the cost."""
    torch.manual_seed(options.seed)
    dataset = load_dataset(options.dataset)
    fold = the_fold(dataset, options.fold)
    training, validation = ([read_example(dataset.case(n), dataset) for n in names] for names in (fold.train, fold.val))
    setting = Setting(dataset, training[0].geometry.dimension, options.bfloat16)
    network = PlainUNet(len(dataset.channels), len(dataset.values) + 1, setting.dimension)
    until = SAFETY * parse_duration(options.time_budget) - time_for_predictions(network, validation, setting)
    begun = _now()
    steps = train(network, training, setting, seed=options.seed, iterations=options.iterations, until=until)
    trained = _now()
    predict_all(network, validation, setting, options.out / "predictions")
    done = _now()
    summary = evaluate_folder(
        options.out / "predictions", options.dataset / "labelsTr", dataset=options.dataset / "dataset.json"
    )
    summary.write_json(options.out / "summary.json")
    step = statistics.median(steps) if steps else 0.0
    return summary.mean_dice, Cost(len(steps), begun, step, done - trained, _now() - done, _now())


def main() -> None:
    """Read the command line, train, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--time-budget", default="3m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="make so many steps, however long they take")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16 where it is safe (autocast)")
    options = parser.parse_args()
    (options.out / "predictions").mkdir(parents=True, exist_ok=True)
    dice, cost = run(options)
    (options.out / "cost.json").write_text(json.dumps(asdict(replace(cost, whole=_now()))))
    print(f"mean Dice {dice:.4f} after {cost.steps} steps and {_now():.1f} s")


if __name__ == "__main__":
    main()
