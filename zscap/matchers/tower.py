"""A causal text tower: small enough to embed thousands of half-written sentences a second.

Texts that begin alike are merged into trees, of which it reads each distinct beginning once. Notebook 91 trains
the tower of the preset `embedded`.
"""

from __future__ import annotations

from collections.abc import Iterator
from os.path import commonprefix
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention
from transformers import AutoTokenizer, PreTrainedTokenizerBase

MAX_TOKENS = 48  # of a text; the rest is not read
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


class TextTower(nn.Module):
    """A causal transformer over the language model's own tokens: each token's embedding is that of the text up to it.

    Because it is causal, texts that share a beginning can be run as one tree, each distinct prefix once.

    Args:
        vocabulary, positions: number of token ids, and of tokens in the longest text.
        token_width: width of the token table, smaller than `width` because the table is most of the weights.
        width, layers, heads, hidden: of the transformer; `hidden` of its feed-forward part.
        dimensions: d, of the space shared with the audio encoder.
    """

    def __init__(
        self,
        vocabulary: int,
        positions: int = 64,
        token_width: int = 128,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        hidden: int = 768,
        dimensions: int = 384,
    ):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, token_width)
        self.widen = nn.Linear(token_width, width, bias=False)
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(2 * width, dimensions)
        nn.init.normal_(self.tokens.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens: Tensor, positions: Tensor, ancestors: Tensor, ends: Tensor) -> Tensor:
        """Embed the texts that end at given nodes of trees of tokens.

        Args:
            tokens, positions: Tensor, shape = (trees, nodes), token ids and their positions in the text.
            ancestors: bool Tensor, shape = (trees or 1, nodes, nodes); [i, j] says that node j is node i or before it.
            ends: Tensor, shape = (trees, n), the nodes at which texts end.

        Returns:
            Tensor, shape = (trees, n, dimensions), of unit norm.
        """
        hidden = self.widen(self.tokens(tokens)) + self.positions(positions)
        for block in self.blocks:
            hidden = block(hidden, ancestors)
        hidden = self.norm(hidden)
        picked = ends[..., None].expand(-1, -1, hidden.shape[-1])
        last = hidden.gather(1, picked)
        path = ancestors.expand(len(tokens), -1, -1).gather(1, ends[..., None].expand(-1, -1, tokens.shape[1]))
        path = path.to(hidden.dtype)
        mean = (path @ hidden) / path.sum(-1, keepdim=True)
        return normalize(self.project(torch.cat([mean, last], dim=-1)).float(), dim=-1)


class Block(nn.Module):
    """Pre-norm attention and feed-forward, as in GPT-2."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads}: must divide the width, {width}")
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.shrink = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, hidden: Tensor, ancestors: Tensor) -> Tensor:
        split = self.attend(self.norm_1(hidden)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(*split, attn_mask=ancestors[:, None])
        hidden = hidden + self.merge(mixed.transpose(1, 2).flatten(-2))
        return hidden + self.shrink(gelu(self.expand(self.norm_2(hidden)), approximate="tanh"))


def read_tokenizer(folder: str | Path, tower: TextTower) -> PreTrainedTokenizerBase:
    """The tokenizer in a language model's folder, if its ids are those that the tower reads.

    Raises:
        ValueError: they are not; or what transformers raises.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    known = tower.tokens.num_embeddings
    if not 1 < len(tokenizer) <= known or tokenizer.eos_token_id is None:
        raise ValueError(f"{len(tokenizer)} tokens; the text tower knows {known}")
    return tokenizer


class TowerTexts:
    """Embeds texts with a tower.

    Args:
        tower: the network.
        tokenizer: whose ids the tower reads.
    """

    def __init__(self, tower: TextTower, tokenizer: PreTrainedTokenizerBase):
        self.tower = tower.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        tokenizer.backend_tokenizer.no_padding()  # which texts of different lengths do without
        self.context_length = min(MAX_TOKENS, tower.positions.num_embeddings)
        self._last: tuple[dict[str, int], Tensor] = {}, torch.empty(0, tower.project.out_features)

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts: shape = (n, dimensions), unit rows. The last call's texts are remembered."""
        # A classifier on this tower asks about texts that have just been matched.
        rows, embeddings = self._last  # read once: another thread may put its own there
        if not all(text in rows for text in texts):
            embeddings = self.embed(texts)
            rows = {text: row for row, text in enumerate(texts)}
            self._last = rows, embeddings
        return embeddings[[rows[text] for text in texts]]

    def embed(self, texts: list[str]) -> Tensor:
        """What the tower makes of texts: shape = (n, dimensions), unit rows."""
        # Straight from the library: the wrapper's batch takes several times as long.
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(texts)
        ids = [text.ids[: self.context_length] or [self.tokenizer.eos_token_id] for text in encoded]
        device = self.tower.norm.weight.device
        embeddings = torch.empty(len(texts), self.tower.project.out_features, device=device)
        for tree in trees(ids):
            embeddings[tree.rows] = self.tower(*tree.inputs(device))[0]
        return embeddings
