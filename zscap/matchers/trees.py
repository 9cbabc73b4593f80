"""Texts that begin alike, merged: a causal text tower then reads each distinct beginning once."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import commonprefix
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NODES = 256  # of one tree: attention grows with their square


class Tree(NamedTuple):
    """Texts merged so that each distinct prefix is one node; tensors are those of a batch of one tree.

    A node sees its ancestors and itself, as a token of a single text sees the tokens before it, so a causal tower
    gives at the node where a text ends what it gives for that text alone.

    Attributes:
        rows: indices of the texts.
        tokens, positions: Tensor, shape = (1, nodes), token ids and their positions in the text.
        ancestors: bool Tensor, shape = (1, nodes, nodes); [i, j] says that node j is node i or before it.
        ends: Tensor, shape = (1, rows), the nodes at which the texts end.
    """

    rows: list[int]
    tokens: Tensor
    positions: Tensor
    ancestors: Tensor
    ends: Tensor

    def inputs(self, device: torch.device) -> tuple[Tensor, ...]:
        """What a text tower reads: tokens, positions, ancestors and ends."""
        return tuple(part.to(device) for part in self[1:])


def trees(ids: list[list[int]], nodes: int = NODES) -> Iterator[Tree]:
    """Merge texts, given as token ids, into trees of at most so many nodes, unless a single text has more tokens."""
    rows, size = [], 0
    for row in sorted(range(len(ids)), key=ids.__getitem__):  # what a text shares, it shares with the one before
        shared = len(commonprefix([ids[rows[-1]], ids[row]])) if rows else 0  # noqa: RUF071
        if rows and size + len(ids[row]) - shared > nodes:
            yield _merge(ids, rows)
            rows, size, shared = [], 0, 0
        rows.append(row)
        size += len(ids[row]) - shared
    if rows:
        yield _merge(ids, rows)


def _merge(ids: list[list[int]], rows: list[int]) -> Tree:
    nodes: dict[tuple[int, int], int] = {}  # numbers of nodes, by their parent's (-1: none) and their token
    ends = []
    for row in rows:
        node = -1
        for token in ids[row]:
            node = nodes.setdefault((node, token), len(nodes))
        ends.append(node)
    ancestors = np.eye(len(nodes), dtype=bool)
    for node, (parent, _) in enumerate(nodes):
        if parent >= 0:
            ancestors[node] |= ancestors[parent]
    tokens = torch.tensor([[token for _, token in nodes]])
    positions = torch.from_numpy(ancestors.sum(axis=1) - 1)[None]
    return Tree(rows, tokens, positions, torch.from_numpy(ancestors)[None], torch.tensor([ends]))
