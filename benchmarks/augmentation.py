"""Augmentation: mean milliseconds per batch, of each transform and of all together.

Run ``python benchmarks/augmentation.py [--patch 40 56 40] [--batch 2] [--channels 1] [--device cpu] [--threads 2]
[--batches 100] [--repeats 3] [--preset default]``. "on" is the time of a batch all of whose samples are changed;
"mean" is over batches drawn with the preset's probabilities; both less what a batch takes with nothing on. The loader's
part runs in its workers, beside the steps; it is given per sample, drawn with the probabilities of the plan. On a busy
machine, take one thread: two wait for each other at every operation.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from autoseg.augmentation import Augmentation, Parameters, build_augmentation, settings_from
from autoseg.augmentation.pipeline import INTENSITY
from autoseg.preprocessing.channel_layout import ChannelLayout

CLASSES = 3
NOTHING_DRAWN = {"name": "none"}
Samples = tuple[list[torch.Tensor], list[torch.Tensor], list[Parameters]]


def main() -> None:
    """Print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"patch {options.patch}, batch {options.batch}, {options.channels} channels, preset {options.preset}")
    print(f"{'transform':>16}  {'on, ms':>8}  {'mean, ms':>8}")
    idle = _mean_ms(options, NOTHING_DRAWN)
    print(f"{'nothing':>16}  {'':>8}  {idle:8.2f}")
    for part in ("rotation", "scaling", *INTENSITY, "mirror"):
        own = dataclasses.asdict(getattr(settings_from({"name": options.preset}), part))
        changes = ({**own, "probability": 1.0}, own)
        on, mean = (max(0.0, _mean_ms(options, {"name": "none", part: change}) - idle) for change in changes)
        print(f"{part:>16}  {on:8.2f}  {mean:8.2f}")
    print(f"{'all':>16}  {'':>8}  {_mean_ms(options, {'name': options.preset, 'loader': []}):8.2f}")
    print(f"{'drawing':>16}  {'':>8}  {_drawing_ms(options):8.2f}")
    _print_loader(options)


def _mean_ms(options: argparse.Namespace, spec: dict[str, Any]) -> float:
    augmentation = _augmentation(options, spec)
    batches = [_samples(augmentation, options, first=index * options.batch) for index in range(options.batches)]
    augmentation.apply(*batches[0])
    return _milliseconds(lambda index: augmentation.apply(*batches[index]), options)


def _drawing_ms(options: argparse.Namespace) -> float:
    augmentation = _augmentation(options, {"name": options.preset, "loader": []})
    each = _milliseconds(lambda index: augmentation.sample(np.random.default_rng(index)), options)
    return each * float(options.batch)


def _print_loader(options: argparse.Namespace) -> None:
    for spec in settings_from({"name": options.preset}).loader:
        transform = _augmentation(options, {"name": "none", "loader": [spec]}).loader_transform
        if transform is None:
            continue
        image = np.random.default_rng(0).normal(size=(options.channels, *options.patch)).astype(np.float32)
        labels = np.zeros(options.patch, dtype=np.int16)

        def once(index: int, transform: Any = transform, image: Any = image, labels: Any = labels) -> Any:
            return transform(image, labels, np.random.default_rng(index))

        print(f"{spec['name']:>36}  {_milliseconds(once, options):8.2f} ms per sample")


def _milliseconds(once: Callable[[int], Any], options: argparse.Namespace) -> float:
    """Return the mean over batches of the best of several times for each: other load only ever adds."""
    return 1e3 * float(np.mean([_best_seconds(once, index, options) for index in range(options.batches)]))


def _best_seconds(once: Callable[[int], Any], index: int, options: argparse.Namespace) -> float:
    times = []
    for _ in range(options.repeats):
        _synchronize(options)
        start = time.perf_counter()
        once(index)
        _synchronize(options)
        times.append(time.perf_counter() - start)
    return min(times)


def _synchronize(options: argparse.Namespace) -> None:
    if options.device.startswith("cuda"):
        torch.cuda.synchronize()


def _augmentation(options: argparse.Namespace, spec: dict[str, Any]) -> Augmentation:
    axes = len(options.patch)
    return build_augmentation(
        spec,
        dimension=axes,
        patch_size=tuple(options.patch),
        spacing=(1.0,) * axes,
        mirror_axes=tuple(range(axes)),
        layout=ChannelLayout(options.channels),
    )


def _samples(augmentation: Augmentation, options: argparse.Namespace, *, first: int) -> Samples:
    """Make samples of noise, with concentric balls as labels."""
    images, labels, parameters = [], [], []
    for index in range(first, first + options.batch):
        drawn = augmentation.sample(np.random.default_rng(index))
        size = augmentation.source_size(drawn)
        radius = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")).norm(dim=0)
        images.append(torch.randn(options.channels, *size, device=options.device))
        labels.append((CLASSES * (1 - radius)).clamp(0, CLASSES - 1).to(torch.int16).to(options.device))
        parameters.append(drawn)
    return images, labels, parameters


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, nargs="+", default=[40, 56, 40])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, default=100, help="batches over which a mean is taken")
    parser.add_argument("--repeats", type=int, default=3, help="times for each batch, of which the best counts")
    parser.add_argument("--preset", default="default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
