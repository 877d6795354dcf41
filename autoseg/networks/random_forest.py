"""A random forest over context features, with the interface of a network, so that prediction can use it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import nn

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.box_features import Boxes, block_features, empty_boxes, integral_image
from autoseg.networks.decision_trees import Trees, empty_trees, summed_shares

BLOCKS = {2: (128, 128), 3: (16, 32, 32)}
"""Size of a block that is classified at once, in voxels; its features need about 25 MB."""
LEAST = 1e-6
"""Lower bound of probabilities, so that logits are finite for labels that no tree has seen."""

Count = Annotated[int, Ge(1), Le(2**28)]
"""Number of features."""


@networks.register("random_forest")
class RandomForest(nn.Module):
    """Mean of decision trees over the context of each voxel (Geremia et al. 2011; Kamnitsas 2019, 3.4.1).

    ``features`` is the number of box features; training decides the number of trees and of their nodes. The logits
    [B,outputs,*space] are the log probabilities plus a ``bias`` for each label, which corrects for the share of the
    label in the training voxels. If outputs may overlap, ``regions`` lists the label indices of each output, and their
    probabilities are added.

    Images of any size are predicted whole, because the context of a voxel ends only at the border of the image.
    Mirrored images were not part of training.
    """

    takes_whole = True

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Count = 400,
        regions: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if regions is not None and (len(regions) != outputs or not all(regions) or min(map(min, regions)) < 1):
            raise PlanError(f"networks 'random_forest', argument 'regions': expected the label indices of {outputs}")
        self.divisor, self.margin = (1,) * dimension, (0,) * dimension
        self.taps: dict[str, nn.Module] = {}
        self.in_channels, self.regions = in_channels, regions
        self.labels = outputs if regions is None else 1 + max(map(max, regions))
        self.set_forest(
            empty_trees(trees=0, nodes=0, labels=self.labels),
            empty_boxes(features, dimension),
            torch.zeros(self.labels),
        )
        self.register_load_state_dict_post_hook(_check)  # type: ignore[no-untyped-call]

    def set_forest(self, trees: Trees, boxes: Boxes, bias: torch.Tensor) -> None:
        """Replace all arrays of the forest."""
        for name, tensor in forest_tensors(trees, boxes, bias).items():
            self.register_buffer(name, tensor)

    def resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for as many trees and nodes as arrays of ``shapes`` contain."""
        trees, nodes = (shapes.get(name, ()) for name in ("tree_roots", "tree_feature"))
        if len(trees) == len(nodes) == 1:
            with self.get_buffer("bias").device:
                found = empty_trees(trees=trees[0], nodes=nodes[0], labels=self.labels)
            self.set_forest(found, self.boxes(found.roots.device), self.get_buffer("bias"))

    def trees(self, device: torch.device) -> Trees:
        """Return the trees."""
        return Trees(*(self.get_buffer(f"tree_{field.name}").to(device) for field in fields(Trees)))

    def boxes(self, device: torch.device) -> Boxes:
        """Return the box features that the trees use."""
        return Boxes(*(self.get_buffer(f"box_{field.name}").to(device) for field in fields(Boxes)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space]."""
        # Sums over whole images need double precision, which Apple's GPUs do not have.
        home = torch.device("cpu") if x.device.type == "mps" else x.device
        return [torch.stack([self._logits(image) for image in x.to(home)]).to(x.device)]

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits [outputs,*space] of an image [C,*space]."""
        trees, boxes, bias = (
            self.trees(image.device),
            self.boxes(image.device),
            self.get_buffer("bias").to(image.device),
        )
        integral = integral_image(image)
        logits = torch.empty(len(self.regions or bias), *image.shape[1:], device=image.device)
        for block in blocks(tuple(image.shape[1:])):
            features = block_features(boxes, integral, block)
            shares = summed_shares(trees, features.flatten(1)) / max(len(trees), 1)
            part = logits[(slice(None), *block)]
            part.copy_(class_logits(shares, bias, self.regions).T.reshape(part.shape))
        return logits


def blocks(space: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield the blocks of an image of size ``space``."""
    sizes = BLOCKS[len(space)]
    starts = (range(0, n, size) for n, size in zip(space, sizes, strict=True))
    for first in itertools.product(*starts):
        yield tuple(slice(a, min(a + size, n)) for a, size, n in zip(first, sizes, space, strict=True))


def class_logits(
    shares: torch.Tensor, bias: torch.Tensor, regions: Sequence[Sequence[int]] | None = None
) -> torch.Tensor:
    """Turn label shares [N,labels] into logits [N,outputs]: of classes, or of ``regions`` that may overlap."""
    logits = shares.clamp_min(LEAST).log() + bias
    if regions is None:
        return logits
    probabilities = logits.softmax(1)
    held = torch.stack([probabilities[:, list(indices)].sum(1) for indices in regions], dim=1)
    return held.logit(LEAST)


def forest_tensors(trees: Trees, boxes: Boxes, bias: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the state dict of a :class:`RandomForest`."""
    named = {f"tree_{field.name}": getattr(trees, field.name) for field in fields(Trees)}
    named |= {f"box_{field.name}": getattr(boxes, field.name) for field in fields(Boxes)}
    return {**named, "bias": bias}


def _check(network: RandomForest, _keys: Any) -> None:
    """Raise ``ValueError`` if arrays from a file contain indices out of range."""
    boxes = network.boxes(torch.device("cpu"))
    fault = network.trees(torch.device("cpu")).fault(len(boxes))
    if bool(((boxes.channels < 0) | (boxes.channels >= network.in_channels)).any()):
        fault = f"'channels' of boxes, expected numbers from 0 to {network.in_channels - 1}"
    if bool((boxes.low >= boxes.high).any()) or bool((boxes.low.abs() > 2**20).any()):
        fault = "'low' of boxes, expected them near their voxel and below 'high'"
    if fault:
        raise ValueError(f"random forest, array {fault}")
