"""A sentence encoder such as all-MiniLM-L6-v2: the preset `small` embeds texts with it."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .parts import FromCheckpoint


class SentenceEncoder(FromCheckpoint):
    """The mean of an encoder's last layer over a text's tokens, of unit norm (Reimers and Gurevych, arXiv 1908.10084).

    It reads each text from its first word on, so it is far slower than a causal tower about texts that begin alike.

    Args:
        model: for example `AutoModel.from_pretrained(...)`.
        tokenizer: the one it was trained with.
    """

    classes = ("AutoModel", "AutoTokenizer")
    context_length = 128

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        super().__init__(model, tokenizer)
        self.dimensions = model.config.hidden_size

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        return self.model(tokens).last_hidden_state.float().mean(1)
