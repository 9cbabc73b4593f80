"""A captioner with an audible or visible beginning: a causal language model that continues a source's prefix.

ClipCap (arXiv 2111.09734) and prefix audio captioners (arXiv 2303.17489) are of this kind: a mapper turns the embedding
of a source into a few vectors that stand before the text, in the place of word embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..errors import InvalidOption, MissingWeights
from ..files.packed import read_packed, write_packed
from ..files.pretrained import load_language_model
from ..language_model import Cache, LanguageModel, State, layers_of
from ..roles import Source, SourceEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAPPER_FILE = "prefix_mapper.safetensors"


class PrefixMapper(nn.Module):
    """Two layers that turn an embedding into a prefix, as in ClipCap.

    A mapper that has only met embeddings of texts may have a memory of such: an embedding of something else is then
    replaced by a mean of the texts near it (DeCap, arXiv 2303.03032).

    Args:
        dimensions: d, of the embedding.
        length, width: of the prefix: vectors, and the width of the language model's word embeddings.
        hidden: width between the two layers.
        remembered: number of texts in the memory; 0 is without one.
        temperature: of the softmax over the cosines with the memory; small takes the nearest text alone.
    """

    def __init__(
        self, dimensions: int, length: int, width: int, hidden: int, remembered: int = 0, temperature: float = 0.02
    ):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature}: must be above 0")
        self.length, self.width, self.temperature = length, width, temperature
        self.layers = nn.Sequential(nn.Linear(dimensions, hidden), nn.Tanh(), nn.Linear(hidden, length * width))
        self.register_buffer("memory", torch.zeros(remembered, dimensions))  # rows of unit norm

    @property
    def config(self) -> dict:
        """The arguments that build it."""
        hidden, dimensions = self.layers[0].weight.shape
        sizes = {"dimensions": dimensions, "length": self.length, "width": self.width, "hidden": hidden}
        return sizes | {"remembered": len(self.memory), "temperature": self.temperature}

    def forward(self, embeddings: Tensor) -> Tensor:
        """Prefixes, (n, length, width), of embeddings, (n, d)."""
        if len(self.memory):
            nearness = embeddings @ self.memory.T / self.temperature
            embeddings = normalize(nearness.softmax(-1) @ self.memory, dim=-1)
        return self.layers(embeddings).unflatten(-1, (self.length, self.width))

    def save(self, folder: str | Path) -> None:
        """Write half-precision weights, with the arguments that build the mapper, beside a language model's."""
        write_packed(Path(folder) / MAPPER_FILE, self, self.config)

    @classmethod
    def load(cls, folder: str | Path) -> PrefixMapper:
        """Read what `save` wrote.

        Raises:
            MissingWeights: the file is not there, cut off, or holds something else.
        """
        return read_packed(Path(folder) / MAPPER_FILE, cls, "notebooks/96_prefix_captioner.ipynb")[0]


class PrefixLanguageModel(LanguageModel):
    """A causal language model that continues a prefix, which a mapper makes of a source's embedding; all frozen.

    Guidance steers its whole cache, the prefix included. A captioner of this kind needs no matcher; one may still be
    added to it.

    Args:
        model, tokenizer: as of `LanguageModel`.
        encoder: of the sources; a matcher, for example.
        mapper: embeddings, (n, d), to prefixes, (n, length, width); it moves to the model's device and dtype.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoder: SourceEncoder, mapper: nn.Module
    ):
        super().__init__(model, tokenizer)
        self.encoder = encoder
        self.mapper = mapper.eval().requires_grad_(False).to(model.device, model.dtype)

    @classmethod
    def load(
        cls, folder: str | Path, encoder: SourceEncoder, *, language_model: str | Path | None = None, **settings
    ) -> PrefixLanguageModel:
        """Read a mapper that `PrefixMapper.save` wrote and a language model that transformers saved.

        Args:
            folder: holds the mapper, and the language model unless it lies elsewhere.
            encoder: the one whose embeddings the mapper knows.
            language_model: its folder; None is "language_model" below `folder` where that is one, else `folder`.
            settings: device, dtype: of both, as for `read_checkpoint`; "float64" where captions must not depend on the
                batch, even in their last digit.

        Raises:
            MissingWeights: no whole mapper, or no language model.
        """
        mapper = PrefixMapper.load(folder)
        below = Path(folder) / "language_model"
        lm = load_language_model(language_model or (below if below.is_dir() else folder), **settings)
        width = lm.model.get_input_embeddings().embedding_dim
        if mapper.width != width:
            raise MissingWeights(
                f"{folder}: the prefix mapper writes vectors of width {mapper.width}, and the language model reads "
                f"{width}; give the language model that the mapper was trained with"
            )
        return cls(lm.model, lm.tokenizer, encoder, mapper)

    @torch.no_grad()
    def begin(self, prompt: str, source: Source) -> State:
        """One row whose cache holds the source's prefix and the prompt.

        No beginning-of-text token is added, since these captioners have none. One that has it, and begins its captions
        freely, takes that token as its prompt.

        Raises:
            InvalidOption: a prompt without tokens, or longer than the language model reads.
            UnreadableSource: of the encoder.
        """
        ids = self._prompt_ids(prompt)
        if not ids:
            raise InvalidOption(f"prompt={prompt!r}: gives no token to continue; write a word, such as 'a'")
        # Alone, so that no rounding depends on the batch.
        prefix = self.mapper(self.encoder.encode_source([source]).to(self.device, self.model.dtype))
        # Penalties look at a row's last tokens: in place of the prefix the prompt's first one changes none of them.
        tokens = torch.tensor([ids[:1] * prefix.shape[1] + ids], device=self.device)
        self.check_length(tokens.shape[1], 1)
        words = self.model.get_input_embeddings()(tokens[:, prefix.shape[1] : -1])
        inputs = self._inputs(tokens[:, :-1], [], torch.zeros(1, dtype=torch.long, device=self.device))
        del inputs["input_ids"]
        output = self.model(**inputs, inputs_embeds=torch.cat([prefix, words], dim=1), logits_to_keep=1)
        return State.of_prompt(tokens, layers_of(output.past_key_values))

    def _prompt_ids(self, prompt: str) -> list[int]:
        return self._ids(prompt)

    def hidden(self, tokens: Tensor, cache: Cache, padding: Tensor) -> Tensor:
        """Raises InvalidOption: MAGIC begins with the hidden states of the text so far, and the prefix is none."""
        raise InvalidOption("alpha: compares words with a text that begins with words, not with a prefix; set it to 0")
