"""A frozen causal language model: prompt, key-value cache, next-token logits, and the same with a shifted cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from .errors import InvalidOption

Context = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (rows, heads, positions, head_dim)


@dataclass(frozen=True)
class State:
    """Rows of one batch, each a text that is being written.

    tokens : Tensor, shape = (rows, length), prompt included
    context : keys and values of all tokens but the last
    """

    tokens: Tensor
    context: Context

    @property
    def last(self) -> Tensor:
        return self.tokens[:, -1:]

    def extend(self, rows: Tensor, tokens: Tensor, cache: Context) -> State:
        """The given rows, each with one more token; `cache` covers all tokens of this state."""
        return State(
            torch.cat([self.tokens[rows], tokens[:, None]], dim=1),
            [(keys[rows], values[rows]) for keys, values in cache],
        )


class LanguageModel:
    """Any transformers causal language model with its tokenizer, frozen.

    Args:
        model: for example `AutoModelForCausalLM.from_pretrained(...)`.
        tokenizer: the one it was trained with.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @property
    def device(self) -> torch.device:
        return self.model.device

    @torch.no_grad()
    def begin(self, prompt: str, rows: int, max_new_tokens: int) -> State:
        """`rows` texts that start with the beginning-of-text token, where the tokenizer has one, and the prompt.

        Raises:
            InvalidOption: a prompt of fewer than two tokens, or one that leaves no room for `max_new_tokens`.
        """
        bos = self.tokenizer.bos_token_id
        ids = ([] if bos is None else [bos]) + self._ids(prompt)
        if len(ids) < 2:
            raise InvalidOption(
                f"prompt={prompt!r}: gives {len(ids)} tokens; steering needs two or more, write more words"
            )
        room = getattr(self.model.config, "max_position_embeddings", None)
        if room is not None and len(ids) + max_new_tokens > room:
            raise InvalidOption(
                f"max_new_tokens={max_new_tokens}: with {len(ids)} tokens of prompt the language model "
                f"takes at most {room - len(ids)}"
            )
        tokens = torch.tensor([ids], device=self.device)
        _, context = self.forward(tokens[:, :-1], [])
        expand = torch.zeros(rows, dtype=torch.long, device=self.device)
        return State(tokens[expand], [(keys[expand], values[expand]) for keys, values in context])

    def forward(self, tokens: Tensor, context: Context) -> tuple[Tensor, Context]:
        """Logits after the last of `tokens`, shape (rows, vocabulary), and the context grown by `tokens`."""
        cache = DynamicCache(context)
        logits = self.model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        return logits, [(layer.keys, layer.values) for layer in cache.layers]

    def text(self, tokens: Tensor | list[int]) -> str:
        """The text of token ids, without the beginning-of-text token."""
        text = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text.replace(self.tokenizer.bos_token, "") if self.tokenizer.bos_token else text

    def continuation(self, prompt: str, tokens: tuple[int, ...]) -> str:
        """What generated tokens add to the prompt's text."""
        # Decoded together: SentencePiece tokenizers drop the space before a text's first word.
        ids = self._ids(prompt)
        decode = partial(self.tokenizer.decode, clean_up_tokenization_spaces=False)
        return decode(ids + list(tokens))[len(decode(ids)) :]

    def end_id(self, end_token: str) -> int:
        """Id of the token that ends a caption: `end_token` itself, else the first token that it is split into.

        Raises:
            InvalidOption: the tokenizer makes nothing of it.
        """
        if end_token in self.tokenizer.get_vocab():  # a tokenizer may put a space before a text
            return self.tokenizer.convert_tokens_to_ids(end_token)
        ids = self._ids(end_token)
        if not ids:
            raise InvalidOption(f"end_token={end_token!r}: the tokenizer splits it into no token; choose another")
        return ids[0]

    @cached_property
    def pieces(self) -> list[str]:
        """What each token adds to a text, one string per row of the vocabulary."""
        size = self.model.get_output_embeddings().weight.shape[0]
        pieces = self.tokenizer.batch_decode(
            [[token] for token in range(min(size, len(self.tokenizer)))], clean_up_tokenization_spaces=False
        )
        # SentencePiece tokenizers drop the space before a text's first word.
        for token, raw in enumerate(self.tokenizer.convert_ids_to_tokens(range(len(pieces)))):
            if raw is not None and raw.startswith("▁") and not pieces[token].startswith(" "):
                pieces[token] = " " + pieces[token]
        return pieces + [""] * (size - len(pieces))  # some models pad their vocabulary

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
