"""A sentence encoder such as all-MiniLM-L6-v2: what the text tower of the preset `small` learnt from."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..files.pretrained import read_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 256  # texts that are run together
MAX_TOKENS = 128  # of a text; the rest is not read


class SentenceEncoder:
    """The mean of an encoder's last layer over a text's tokens, of unit norm (Reimers and Gurevych, arXiv 1908.10084).

    It reads each text from its first word on, so it is far slower than a causal tower about texts that begin alike.

    Args:
        model: for example `AutoModel.from_pretrained(...)`.
        tokenizer: the one it was trained with.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SentenceEncoder:
        """Read a folder, or a hub id that is in the cache.

        Raises:
            MissingWeights: something is not there, or damaged.
        """
        return cls(*read_checkpoint(path, "AutoModel", "AutoTokenizer", revision=revision, device=device, dtype=dtype))

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts: shape = (n, d), unit rows, float32."""
        ids = self.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"] if texts else []
        alike = defaultdict(list)  # rows by length: what is not padded does not depend on its company
        for row, tokens in enumerate(ids):
            alike[len(tokens)].append(row)
        embeddings = torch.empty(len(texts), self.model.config.hidden_size, device=self.model.device)
        for rows in alike.values():
            for part in torch.tensor(rows).split(BATCH):
                tokens = torch.tensor([ids[row] for row in part], device=self.model.device)
                states = self.model(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
                embeddings[part] = normalize(states.float().mean(1), dim=-1)
        return embeddings
