"""Decision trees as plain arrays, and walking many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

LEAF = -1
"""Feature of a node at which a tree ends."""


@dataclass(frozen=True)
class Trees:
    """Some trees, whose nodes are numbered one tree after the other, each child after its parent.

    ``roots`` [trees] int32; ``children`` [nodes,2] int32, where to go on if the value of ``feature`` [nodes] int32 is
    at most ``threshold`` [nodes] float32, and where if it is larger; ``shares`` [nodes,labels] float32 are those of
    each label in a leaf.
    """

    roots: torch.Tensor
    children: torch.Tensor
    feature: torch.Tensor
    threshold: torch.Tensor
    shares: torch.Tensor

    def __len__(self) -> int:
        return len(self.roots)

    def fault(self, features: int) -> str | None:
        """Say what is wrong with trees that came from a file; None where they can be walked to their ends."""
        nodes = len(self.feature)
        inner = self.feature != LEAF
        own = torch.arange(nodes, device=self.children.device)[inner, None]
        children = self.children[inner]
        if bool(((self.feature < LEAF) | (self.feature >= features)).any()):
            return f"'feature', expected numbers from {LEAF} to {features - 1}"
        # A child after its parent: no way leads round in a circle.
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
    """Put the trees of all parts together, their nodes numbered one tree after the other."""
    offsets = torch.tensor([0, *(len(part.feature) for part in parts)]).cumsum(0).int()
    return Trees(
        roots=torch.cat([part.roots + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        children=torch.cat([part.children + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        feature=torch.cat([part.feature for part in parts]),
        threshold=torch.cat([part.threshold for part in parts]),
        shares=torch.cat([part.shares for part in parts]),
    )


def separated(trees: Trees) -> list[Trees]:
    """Return what :func:`joined` joined, each tree with nodes numbered from 0."""
    ends = [*trees.roots[1:].tolist(), len(trees.feature)]
    parts = []
    for first, end in zip(trees.roots.tolist(), ends, strict=True):
        feature = trees.feature[first:end]
        children = torch.where(feature[:, None] == LEAF, 0, trees.children[first:end] - first)
        root = torch.zeros(1, dtype=torch.int32)
        parts.append(Trees(root, children.int(), feature, trees.threshold[first:end], trees.shares[first:end]))
    return parts


def summed_shares(trees: Trees, values: torch.Tensor) -> torch.Tensor:
    """Add up what each tree says of some samples, whose features ``values`` [features,N] float32 are; [N,labels]."""
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
