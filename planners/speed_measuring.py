"""Measure the training speed of a machine: time a sample of each kind of work several times, and use the minimum."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from autoseg.augmentation.pipeline import build_augmentation
from autoseg.learning.costs.work import BYTES, CHANNELS, DEPTHWISE, OPERATIONS, PRODUCT, flops_of, work_of
from autoseg.learning.optimizers.muon import orthogonalized
from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS
from autoseg.networks.layers import convolution
from autoseg.planners.machine_speed import MachineSpeed
from autoseg.preprocessing.channel_layout import ChannelLayout
from autoseg.system.processors import own_cores

ROUNDS = 3
"""Repetitions of each piece. Each round times all pieces once, so that a short disturbance affects only one round."""
SIZES = {"cpu": {2: 128, 3: 24}, "cuda": {2: 512, 3: 96}}
"""Edge in voxels of the image of a piece, a square or cube, by dimension; a piece has two images and takes some
hundredths of a second."""
BUSY = 1.3
"""Ratio of wall-clock time to processor time above which other programs are assumed to use the processors."""
LEAST_SHARE = 0.3
"""Smallest share of a piece's time that is attributed to its convolutions."""
FINEST = 1.1
"""Rates are rounded to powers of this number, so that small variations do not change the plan."""


@dataclass(frozen=True)
class _Piece:
    """A sample of one kind of work, to be timed."""

    kind: str
    run: Callable[[], object]
    amount: float = 0.0
    """Amount of work of its kind; 0: count it, and subtract the time of other kinds of work."""
    is_parallel: bool = True
    """Whether it runs on all threads; otherwise on one thread."""


def measured_speed(device: str, precision: str, *, machine: str) -> MachineSpeed:
    """Measure every kind of work on ``device`` in ``precision``: a few seconds on two cores."""
    place = torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pieces = _pieces(place, precision)
        seconds, is_busy = _quickest(pieces, place)
        rates = {piece.kind: piece.amount / seconds[piece.kind] for piece in pieces if piece.amount}
        # Pieces with convolutions also contain other kinds of work, whose rates are known here.
        rates |= {piece.kind: _rate(piece, seconds[piece.kind], rates) for piece in pieces if not piece.amount}
    rates = {kind: _rounded(rate) for kind, rate in rates.items()}
    augmented = rates.pop(_AUGMENTED)
    return MachineSpeed(machine, rates, augmented_voxels=augmented, is_busy=is_busy)


def _rate(piece: _Piece, seconds: float, rates: Mapping[str, float]) -> float:
    """Return the rate of a piece's kind, without the time of the other kinds of work in the piece."""
    with _Counter() as counter:
        piece.run()
    others = sum(amount / rates[kind] for kind, amount in counter.work.items() if kind in (BYTES, OPERATIONS, PRODUCT))
    return counter.work[piece.kind] / max(seconds - others, LEAST_SHARE * seconds)


class _Counter(TorchDispatchMode):
    """Count the work of each kind."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work: defaultdict[str, float] = defaultdict(float)

    def __torch_dispatch__(  # type: ignore[override]
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for kind, amount in work_of(func, args, result, flops_of(func, args, kwargs, result)).items():
            self.work[kind] += amount
        return result


_AUGMENTED = "augmented"


def _quickest(pieces: list[_Piece], device: torch.device) -> tuple[dict[str, float], bool]:
    """Return the minimum time of each piece in seconds, and whether other programs used the processors.

    On a CPU, it is processor time, which other programs hardly change.
    """
    for piece in pieces:
        piece.run()
    times: dict[str, list[tuple[float, float]]] = {piece.kind: [] for piece in pieces}
    for _ in range(ROUNDS):
        for piece in pieces:
            times[piece.kind].append(_timed(piece, device))
    wall, worked = (sum(sum(time[i] for time in found) for found in times.values()) for i in (0, 1))
    return {kind: min(time[1] for time in found) for kind, found in times.items()}, wall > BUSY * worked


def _timed(piece: _Piece, device: torch.device) -> tuple[float, float]:
    """Return the wall-clock time and the processor time of a piece, in seconds."""
    wait_for(device)
    clock, work = time.perf_counter(), time.process_time()
    with own_cores():
        piece.run()
    wait_for(device)
    wall = time.perf_counter() - clock
    if device.type != "cpu":
        return wall, wall
    return wall, (time.process_time() - work) / (torch.get_num_threads() if piece.is_parallel else 1)


def wait_for(device: torch.device) -> None:
    """Wait until ``device`` has finished its work."""
    if device.type != "cpu":
        (torch.mps if device.type == "mps" else torch.cuda).synchronize()


def _pieces(device: torch.device, precision: str) -> list[_Piece]:
    sizes = SIZES.get(device.type, SIZES["cuda"])
    dense = [
        _convolutions(device, precision, dimension, channels, sizes[dimension])
        for dimension in (2, 3)
        for channels in CHANNELS
    ]
    return [
        *dense,
        _depthwise(device, precision, sizes[3]),
        _product(device),
        _bytes(device, precision, sizes[3]),
        _operations(device),
        _augmentation(device, sizes[3]),
    ]


def _convolutions(device: torch.device, precision: str, dimension: int, channels: int, size: int) -> _Piece:
    """Build a piece of convolutions, each followed by normalization, as in networks.

    With one channel, it is the first layer of a network; otherwise input and output have ``channels`` channels.
    """
    layers: nn.Module
    if channels == 1:
        layers = CONVOLUTIONS[dimension](1, 16, 3, padding=1)
    else:
        spec = {"name": "unet", "features": [channels], "kernels": [[3] * dimension], "strides": [[1] * dimension]}
        layers = networks.build({**spec, "convolutions": 2}, in_channels=channels, outputs=2, dimension=dimension)
    edge = max(8, int(size * (16 / channels) ** (1 / dimension))) if channels > 16 else size
    return _learning(
        f"convolution_{dimension}d_{channels}", layers, (2, channels, *[edge] * dimension), device, precision
    )


def _depthwise(device: torch.device, precision: str, size: int) -> _Piece:
    layer = convolution(3, 16, 16, kernel=[3] * 3, groups=16)
    return _learning(DEPTHWISE, layer, (2, 16, *[size] * 3), device, precision)


def _learning(kind: str, layer: nn.Module, shape: tuple[int, ...], device: torch.device, precision: str) -> _Piece:
    """Build a piece from the forward and backward pass of a layer."""
    layer, image = layer.to(device), torch.randn(shape, device=device, requires_grad=shape[1] > 1)

    def run() -> None:
        with _autocast(device, precision):
            found = layer(image)
        result = found[0] if isinstance(found, list) else found
        result.float().square().mean().backward()

    return _Piece(kind, run)


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def _product(device: torch.device) -> _Piece:
    kernels = torch.randn(1, 256, 2304, device=device)
    with _Counter() as counter:
        orthogonalized(kernels)
    return _Piece(PRODUCT, lambda: orthogonalized(kernels), counter.work[PRODUCT])


def _bytes(device: torch.device, precision: str, size: int) -> _Piece:
    kind, times = torch.bfloat16 if precision == "bfloat16" else torch.float32, 20
    features = torch.randn(2, 32, *[size] * 3, device=device, dtype=kind)

    def run() -> None:
        for _ in range(times):
            features.mul(0.5)

    # Each multiplication reads one tensor and writes another.
    return _Piece(BYTES, run, 2 * times * features.numel() * features.element_size())


def _operations(device: torch.device) -> _Piece:
    count, number = 1000, torch.ones(4, device=device, requires_grad=True)

    def run() -> None:
        total = number
        for _ in range(count // 2):
            total = total * 1.01
        total.sum().backward()

    return _Piece(OPERATIONS, run, count, is_parallel=False)


def _augmentation(device: torch.device, size: int) -> _Piece:
    """Build a piece of the default augmentation, with enough samples for its rare transforms to occur."""
    samples, patch = 8, (size,) * 3
    augmentation = build_augmentation(
        {"name": "default"},
        dimension=3,
        patch_size=patch,
        spacing=(1.0,) * 3,
        mirror_axes=(0, 1, 2),
        layout=ChannelLayout(1),
    )
    rng = np.random.default_rng(0)
    drawn = [augmentation.sample(rng) for _ in range(samples)]
    images = [torch.randn(1, *augmentation.source_size(found), device=device) for found in drawn]
    labels = [torch.zeros(augmentation.source_size(found), dtype=torch.int16, device=device) for found in drawn]
    return _Piece(_AUGMENTED, lambda: augmentation.apply(images, labels, drawn, None), samples * size**3)


def _rounded(figure: float) -> float:
    return float(FINEST ** round(np.log(figure) / np.log(FINEST)))
