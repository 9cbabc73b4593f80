"""A frozen causal language model: prompt, key-value cache, next-token logits, and the same with a shifted cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from .errors import InvalidOption

Context = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (rows, heads, positions, head_dim)


@dataclass(frozen=True)
class State:
    """Rows of one batch, each a text that is being written. Shorter ones are filled up at the left.

    tokens : Tensor, shape = (rows, length), prompt included
    padding : Tensor, shape = (rows,), how many of the row's tokens are filling
    context : keys and values of all tokens but the last
    """

    tokens: Tensor
    padding: Tensor
    context: Context

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def last(self) -> Tensor:
        return self.tokens[:, -1:]

    def repeat(self, times: int) -> State:
        """A state of one row, so many times."""
        row = torch.zeros(times, dtype=torch.long, device=self.tokens.device)
        return State(self.tokens[row], self.padding[row], [(keys[row], values[row]) for keys, values in self.context])

    def join(self, other: State) -> State:
        """The rows of both."""
        if not len(self) or not len(other):
            return self if len(self) else other
        length = max(self.tokens.shape[1], other.tokens.shape[1])
        a, b = self._widened(length), other._widened(length)
        return State(
            torch.cat([a.tokens, b.tokens]),
            torch.cat([a.padding, b.padding]),
            [
                (torch.cat([keys, more_keys]), torch.cat([values, more_values]))
                for (keys, values), (more_keys, more_values) in zip(a.context, b.context, strict=True)
            ],
        )

    def extend(self, rows: Tensor, tokens: Tensor, cache: Context) -> State:
        """The given rows, each with one more token; `cache` covers all tokens of this state."""
        padding = self.padding[rows]
        spare = int(padding.min()) if len(rows) else 0  # the longest row may have left
        return State(
            torch.cat([self.tokens[rows, spare:], tokens[:, None]], dim=1),
            padding - spare,
            [(keys[rows, :, spare:], values[rows, :, spare:]) for keys, values in cache],
        )

    def _widened(self, length: int) -> State:
        more = length - self.tokens.shape[1]
        return State(
            pad(self.tokens, (more, 0)),
            self.padding + more,
            [(pad(keys, (0, 0, more, 0)), pad(values, (0, 0, more, 0))) for keys, values in self.context],
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
    def begin(self, prompt: str, max_new_tokens: int) -> State:
        """One row that starts with the beginning-of-text token, where the tokenizer has one, and the prompt.

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
        padding = torch.zeros(1, dtype=torch.long, device=self.device)
        _, context = self.forward(tokens[:, :-1], [], padding)
        return State(tokens, padding, context)

    def forward(self, tokens: Tensor, context: Context, padding: Tensor) -> tuple[Tensor, Context]:
        """Logits after the last of `tokens`, shape (rows, vocabulary), and the context grown by `tokens`.

        padding : Tensor, shape = (rows,), positions at the left of each row that are no part of its text
        """
        length = tokens.shape[1] + (context[0][0].shape[2] if context else 0)
        positions = torch.arange(length, device=tokens.device) - padding[:, None]
        cache = DynamicCache(context)
        logits = self.model(
            tokens,
            attention_mask=(positions >= 0).long(),
            position_ids=positions[:, -tokens.shape[1] :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
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

    @property
    def vocabulary_size(self) -> int:
        """Number of logits; some models pad their tokenizer's vocabulary."""
        return self.model.get_output_embeddings().weight.shape[0]

    @cached_property
    def pieces(self) -> list[str]:
        """What each token adds to a text, one string per row of the vocabulary."""
        tokens = range(min(self.vocabulary_size, len(self.tokenizer)))
        pieces = self.tokenizer.batch_decode([[token] for token in tokens], clean_up_tokenization_spaces=False)
        # SentencePiece tokenizers drop the space before a text's first word.
        for token, raw in enumerate(self.tokenizer.convert_ids_to_tokens(range(len(pieces)))):
            if raw is not None and raw.startswith("▁") and not pieces[token].startswith(" "):
                pieces[token] = " " + pieces[token]
        return pieces + [""] * (self.vocabulary_size - len(pieces))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
