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
        nodes: a tree that has so many takes no further text; so it can be larger by part of one text.

    Yields:
        rows, the texts of this tree by their place in `ids`, and for a batch of one tree
        tokens, positions: Tensor, shape = (1, nodes), token ids and their places in the text.
        ancestors: bool Tensor, shape = (1, nodes, nodes); [i, j] says that node j is node i or before it.
        ends: Tensor, shape = (1, rows), the nodes at which the texts end.
    """
    node_of: dict[tuple[int, int], int] = {}  # (parent, token): node
    rows, ends = [], []
    for row in sorted(range(len(ids)), key=ids.__getitem__):
        node = -1
        for token in ids[row]:
            node = node_of.setdefault((node, token), len(node_of))
        rows.append(row)
        ends.append(node)
        if len(node_of) >= nodes:
            yield rows, *_tensors(node_of, ends)
            node_of, rows, ends = {}, [], []
    if rows:
        yield rows, *_tensors(node_of, ends)


def _tensors(node_of: dict[tuple[int, int], int], ends: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ancestors = np.eye(len(node_of), dtype=bool)
    for (parent, _), node in node_of.items():
        if parent >= 0:
            ancestors[node] |= ancestors[parent]
    tokens = torch.tensor([[token for _, token in node_of]])
    positions = torch.from_numpy(ancestors.sum(axis=1) - 1)[None]
    return tokens, positions, torch.from_numpy(ancestors)[None], torch.tensor([ends])
