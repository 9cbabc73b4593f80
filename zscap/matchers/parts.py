"""What matchers have in common: sources embedded part by part, and networks from transformers' checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..files.packed import check_finite, reading
from ..files.pretrained import read_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..roles import Source

BATCH = 256  # texts that are run together


class ByParts:
    """A matcher that embeds the parts of a source, such as a recording's windows or a video's frames, and averages."""

    def encode_parts(self, source: Source) -> Tensor:
        """Embed the parts of one source: shape = (parts, d), unit rows, float32."""
        raise NotImplementedError

    @torch.no_grad()
    def encode_source(self, sources: Sequence[Source]) -> Tensor:
        """Embed sources, each by itself.

        Returns:
            Tensor, shape = (n, d), unit rows, float32.

        Raises:
            UnreadableSource: no such file, or it holds no sound, image or video.
        """
        return torch.stack([normalize(self.encode_parts(source).mean(0), dim=0) for source in sources])


def windows(samples: np.ndarray | Tensor, length: int, most: int) -> list[np.ndarray | Tensor]:
    """At most so many parts of `length` samples, evenly spread from start to end; a shorter recording whole."""
    number = min(most, -(-len(samples) // length))
    starts = np.linspace(0, max(0, len(samples) - length), number).astype(int)
    return [samples[start : start + length] for start in starts]


class FromCheckpoint:
    """Embeds texts with a network of transformers.

    Args:
        model: the network.
        tokenizer: of its texts.
        reader: what prepares its sources, where it takes some.
    """

    classes: ClassVar[tuple[str, ...]]  # of transformers: the model's, the tokenizer's, the reader's
    example: ClassVar[Source | None] = None  # is embedded at once, which fails where settings do not fit each other
    context_length: int  # tokens of a text; the rest is not read
    dimensions: int  # d

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, reader: object = None):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.reader = tokenizer, reader

    @classmethod
    def load(cls, path: str | Path, **settings) -> Self:
        """Read a folder, or a hub id that is in the cache; weights as safetensors or, never unpickled, as tensors.

        Args:
            path: the folder, or the hub id.
            settings: revision, device, dtype: as for `zscap.files.pretrained.read_checkpoint`.

        Raises:
            MissingWeights: something is not there, damaged, or there only in part.
        """
        parts = read_checkpoint(path, *cls.classes, **settings)
        with reading(cls.__name__, path, "give a folder with files of one and the same checkpoint"):
            made = cls(*parts)
            if len(made.tokenizer) > made.model.config.get_text_config().vocab_size:
                raise ValueError("its tokenizer is another network's")
            check_finite({"a text": made.encode_text(["a word"])})
            if cls.example is not None:
                check_finite({"a source": made.encode_source([cls.example])})
        return made

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Embed texts of one length, given as token ids, (n, length): shape = (n, d), of any norm."""
        return self.model.get_text_features(input_ids=tokens).pooler_output

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: shape = (n, d), unit rows, float32. Longer ones are cut to `context_length`."""
        cut = {"truncation": True, "max_length": self.context_length}
        ids = self.tokenizer(list(texts), **cut).input_ids if len(texts) else []
        alike = defaultdict(list)  # rows by length: what is not padded does not depend on its company
        for row, tokens in enumerate(ids):
            alike[len(tokens)].append(row)
        embeddings = torch.empty(len(ids), self.dimensions, device=self.model.device)
        for rows in alike.values():
            for part in torch.tensor(rows).split(BATCH):
                tokens = torch.tensor([ids[row] for row in part], device=self.model.device)
                embeddings[part] = normalize(self.embed_tokens(tokens).float(), dim=-1)
        return embeddings
