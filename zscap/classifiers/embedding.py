"""A classifier on frozen text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import InvalidData
from ..files.packed import read_packed, write_packed, writing
from ..roles import TextEncoder

if TYPE_CHECKING:
    import pandas as pd


class EmbeddingClassifier:
    """A small network on frozen text embeddings.

    It can only know what the encoder knows, which is its strength: trained from scratch, a transformer learns the
    habits of one data set and fails on the next.

    Args:
        encoder: any object with `encode_text(texts) -> Tensor (n, d)`, such as a matcher.
        head: maps embeddings, shape = (n, d), to logits, shape = (n, 1).
    """

    PROBES = ("a dog barks", "a blue sky", "rain falls on a roof")  # tell whether a file belongs to an encoder

    def __init__(self, encoder: TextEncoder, head: nn.Sequential):
        self.encoder, self.head = encoder, head.eval().requires_grad_(False)
        self.history: pd.DataFrame | None = None  # of its training, where there was one

    def save(self, file: str | Path) -> None:
        """Write the head as half-precision safetensors; the encoder isn't part of it.

        Raises:
            UnwritableOutput: the file can't be written.
        """
        hidden, width = self.head[1].weight.shape
        config = {"width": width, "hidden": hidden, "probes": self._probes()}
        with writing(file):
            write_packed(file, self.head, config)

    @classmethod
    def load(
        cls, file: str | Path, encoder: TextEncoder, *, device: str = "cpu", dtype: torch.dtype = torch.float64
    ) -> EmbeddingClassifier:
        """Load what `save` wrote, for the encoder that it was trained on.

        Args:
            dtype: of the head; double precision, so that a text's probability doesn't depend on its company.

        Raises:
            MissingWeights: there is no such file, or only part of it.
            InvalidData: the head belongs to another encoder.
        """
        head, config = read_packed(
            file, lambda width, hidden, probes: head_of(width, hidden), "notebooks/02_train_classifier.ipynb"
        )
        classifier = cls(encoder, head.to(device, dtype))
        try:
            pairs = zip(classifier._probes(), config["probes"], strict=True)
            same = all(abs(here - there) < 0.1 for here, there in pairs)
        except (RuntimeError, TypeError, ValueError, OverflowError):  # embeddings of another width, no numbers
            same = False
        if not same:
            raise InvalidData(f"{file} was trained on another text encoder: train it again on this one")
        return classifier

    @torch.inference_mode()
    def probability(self, texts: Sequence[str]) -> Tensor:
        """Probability that each text has the wanted property.

        Returns:
            Tensor, shape = (n,), on the head's device.
        """
        return self._logits(texts).sigmoid().float()

    def _logits(self, texts: Sequence[str]) -> Tensor:
        embeddings = self.encoder.encode_text(list(texts))
        return self.head(embeddings.to(self.head[1].weight)).squeeze(-1)

    @torch.inference_mode()
    def _probes(self) -> list[float]:
        return self._logits(self.PROBES).tolist()


def head_of(width: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """One hidden layer; it brings rows of unit norm to unit variance first, without which training crawls."""
    return nn.Sequential(
        nn.LayerNorm(width, elementwise_affine=False),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )
