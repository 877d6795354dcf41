"""Decision trees as plain arrays, and parallel evaluation of many trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

LEAF = -1
"""Value of ``feature`` that marks a leaf."""


@dataclass(frozen=True)
class Trees:
    """Decision trees; nodes are numbered tree by tree, each child after its parent.

    ``roots`` [trees] int32: the root node of each tree. ``feature`` [nodes] int32 and ``threshold`` [nodes] float32:
    the test of each node. ``children`` [nodes,2] int32: the next node if the value is at most the threshold, and the
    next node if it is larger. ``shares`` [nodes,labels] float32: the share of each label in a leaf.
    """

    roots: torch.Tensor
    children: torch.Tensor
    feature: torch.Tensor
    threshold: torch.Tensor
    shares: torch.Tensor

    def __len__(self) -> int:
        return len(self.roots)

    def fault(self, features: int) -> str | None:
        """Return the error in trees that were read from a file; None if every path ends in a leaf."""
        nodes = len(self.feature)
        inner = self.feature != LEAF
        own = torch.arange(nodes, device=self.children.device)[inner, None]
        children = self.children[inner]
        if bool(((self.feature < LEAF) | (self.feature >= features)).any()):
            return f"'feature', expected numbers from {LEAF} to {features - 1}"
        # Each child comes after its parent, so that no path is a cycle.
        if bool(((children <= own) | (children >= nodes)).any()):
            return f"'children', expected numbers above their parent's and below {nodes}"
        if bool(((self.roots < 0) | (self.roots >= nodes)).any()):
            return f"'roots', expected numbers from 0 to {nodes - 1}"
        return None


def empty_trees(*, trees: int, nodes: int, labels: int) -> Trees:
    """Return arrays of the right sizes and types, all zeros."""
    return Trees(
        roots=torch.zeros(trees, dtype=torch.int32),
        children=torch.zeros(nodes, 2, dtype=torch.int32),
        feature=torch.zeros(nodes, dtype=torch.int32),
        threshold=torch.zeros(nodes),
        shares=torch.zeros(nodes, labels),
    )


def joined(parts: Sequence[Trees]) -> Trees:
    """Concatenate the trees of all parts; nodes are renumbered tree by tree."""
    offsets = torch.tensor([0, *(len(part.feature) for part in parts)]).cumsum(0).int()
    return Trees(
        roots=torch.cat([part.roots + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        children=torch.cat([part.children + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        feature=torch.cat([part.feature for part in parts]),
        threshold=torch.cat([part.threshold for part in parts]),
        shares=torch.cat([part.shares for part in parts]),
    )


def separated(trees: Trees) -> list[Trees]:
    """Split trees into single ones, each with nodes numbered from 0; the inverse of :func:`joined`."""
    ends = [*trees.roots[1:].tolist(), len(trees.feature)]
    parts = []
    for first, end in zip(trees.roots.tolist(), ends, strict=True):
        feature = trees.feature[first:end]
        children = torch.where(feature[:, None] == LEAF, 0, trees.children[first:end] - first)
        root = torch.zeros(1, dtype=torch.int32)
        parts.append(Trees(root, children.int(), feature, trees.threshold[first:end], trees.shares[first:end]))
    return parts


def summed_shares(trees: Trees, values: torch.Tensor) -> torch.Tensor:
    """Return the label shares [N,labels] of N samples, summed over trees, from ``values`` [features,N] float32."""
    samples, count = values.shape[1], len(trees)
    flat, children = values.flatten(), trees.children.flatten()
    node = trees.roots.repeat_interleave(samples)
    live = torch.arange(count * samples, device=values.device, dtype=torch.int32)
    while len(live):
        here = node[live]
        feature = trees.feature[here]
        inner = feature != LEAF
        if not bool(inner.all()):
            live, here, feature = live[inner], here[inner], feature[inner]
        larger = flat[feature * samples + live % samples] > trees.threshold[here]
        node[live] = children[2 * here + larger]
    return trees.shares[node].view(count, samples, trees.shares.shape[1]).sum(0)
