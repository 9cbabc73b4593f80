"""Texts that begin alike, merged: a causal text tower then reads each distinct beginning once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

NODES = 256  # of one tree: attention grows with their square


def trees(ids: list[list[int]], nodes: int = NODES) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor, Tensor]]:
    """Merge texts into trees of tokens in which each distinct prefix is one node.

    A node sees its ancestors and itself, as a token of a single text sees the tokens before it, so a causal tower
    gives at the node where a text ends what it gives for that text alone.

    Args:
        ids: token ids of each text, at least one.
        nodes: the most of one tree, unless a single text has more tokens.

    Yields:
        rows, the texts of this tree by their place in `ids`, and for a batch of one tree
        tokens, positions: Tensor, shape = (1, nodes), token ids and their places in the text.
        ancestors: bool Tensor, shape = (1, nodes, nodes); [i, j] says that node j is node i or before it.
        ends: Tensor, shape = (1, rows), the nodes at which the texts end.
    """
    tree: list[tuple[int, int]] = []  # parent and token of each node
    rows, ends = [], []
    text, path = [], []  # the last text, and its nodes
    for row in sorted(range(len(ids)), key=ids.__getitem__):  # so what a text shares, it shares with the one before
        shared = _shared(text, ids[row])
        if rows and len(tree) + len(ids[row]) - shared > nodes:
            yield rows, *_tensors(tree, ends)
            tree, rows, ends, shared = [], [], [], 0
        text, path = ids[row], path[:shared]
        for token in text[shared:]:
            tree.append((path[-1] if path else -1, token))
            path.append(len(tree) - 1)
        rows.append(row)
        ends.append(path[-1] if path else -1)
    if rows:
        yield rows, *_tensors(tree, ends)


def _shared(first: list[int], second: list[int]) -> int:
    """How many tokens two texts begin with alike."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def _tensors(tree: list[tuple[int, int]], ends: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ancestors = np.eye(len(tree), dtype=bool)
    for node, (parent, _) in enumerate(tree):
        if parent >= 0:
            ancestors[node] |= ancestors[parent]
    tokens = torch.tensor([[token for _, token in tree]])
    positions = torch.from_numpy(ancestors.sum(axis=1) - 1)[None]
    return tokens, positions, torch.from_numpy(ancestors)[None], torch.tensor([ends])
