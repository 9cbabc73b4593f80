"""What matchers have in common: sources embedded part by part, and towers from transformers' checkpoints."""

from __future__ import annotations

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
    from ..roles import Source


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


class FromCheckpoint(ByParts):
    """A matcher that is made of a checkpoint's network, tokenizer and what reads the sources."""

    classes: ClassVar[tuple[str, str, str]]  # of transformers, in this order
    example: ClassVar[Source]  # is embedded at once, which fails where settings do not fit each other

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Read a folder, or a hub id that is in the cache; weights as safetensors or, never unpickled, as tensors.

        Args:
            path: the folder, or the hub id.
            revision: a commit of the hub's, None for the newest in the cache.
            device, dtype: where and in which precision both towers run.

        Raises:
            MissingWeights: something is not there, damaged, or there only in part.
        """
        model, tokenizer, reader = read_checkpoint(path, *cls.classes, revision=revision, device=device, dtype=dtype)
        with reading(cls.__name__, path, "give a folder with files of one and the same checkpoint"):
            if len(tokenizer) > model.config.text_config.vocab_size or tokenizer.eos_token_id is None:
                raise ValueError("its tokenizer is another network's")
            matcher = cls(model, tokenizer, reader)
            check_finite({"a text": matcher.encode_text(["a word"]), "a source": matcher.encode_source([cls.example])})
        return matcher
