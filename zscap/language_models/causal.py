"""A frozen causal language model: prompt, key-value cache, next-token logits, and the same with a shifted cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import InvalidOption
from ..sources import Source

Context = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (rows, heads, positions, head_dim)


@dataclass(frozen=True)
class State:
    """Rows of one batch, each a text that is being written. Shorter ones are filled up at the left.

    tokens : Tensor, shape = (rows, length), prompt included
    padding : Tensor, shape = (rows,), how many of the row's tokens are filling
    context : keys and values of all tokens but the last
    given : what else the model is told at each step, by name; Tensors whose first dimension is the row
    """

    tokens: Tensor
    padding: Tensor
    context: Context
    given: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def last(self) -> Tensor:
        return self.tokens[:, -1:]

    @classmethod
    def joined(cls, states: list[State]) -> State:
        """The rows of all of them."""
        length = max(state.tokens.shape[1] for state in states)
        states = [state._widened(length) for state in states if len(state)] or states[:1]
        if len(states) == 1:
            return states[0]
        return cls(
            torch.cat([state.tokens for state in states]),
            torch.cat([state.padding for state in states]),
            [
                tuple(torch.cat(tensors) for tensors in zip(*layer, strict=True))
                for layer in zip(*(state.context for state in states), strict=True)
            ],
            {name: _filled_up([state.given[name] for state in states]) for name in states[0].given},
        )

    def extend(self, rows: Tensor, tokens: Tensor, cache: Context) -> State:
        """The given rows, each with one more token; `cache` covers all tokens of this state."""
        padding = self.padding[rows]
        spare = int(padding.min()) if len(rows) else 0  # the longest row may have left
        same = torch.equal(rows, torch.arange(len(self), device=rows.device))  # and `given` may be large
        return State(
            torch.cat([self.tokens[rows, spare:], tokens[:, None]], dim=1),
            padding - spare,
            [(keys[rows, :, spare:], values[rows, :, spare:]) for keys, values in cache],
            self.given if same else {name: tensor[rows] for name, tensor in self.given.items()},
        )

    def _widened(self, length: int) -> State:
        more = length - self.tokens.shape[1]
        return State(
            pad(self.tokens, (more, 0)),
            self.padding + more,
            [(pad(keys, (0, 0, more, 0)), pad(values, (0, 0, more, 0))) for keys, values in self.context],
            self.given,
        )


def _filled_up(tensors: list[Tensor]) -> Tensor:
    """All rows of Tensors, which may differ in other dimensions; shorter ones get zeros at their ends."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    filled = torch.zeros(sum(map(len, tensors)), *shape, dtype=tensors[0].dtype, device=tensors[0].device)
    for rows, tensor in zip(filled.split([len(tensor) for tensor in tensors]), tensors, strict=True):
        rows[tuple(slice(size) for size in tensor.shape)] = tensor
    return filled


class LanguageModel:
    """Any transformers causal language model with its tokenizer, frozen.

    Args:
        model: for example `AutoModelForCausalLM.from_pretrained(...)`.
        tokenizer: the one it was trained with.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._begun = lru_cache(maxsize=256)(self._begin)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def begin(self, prompt: str, source: Source | None = None) -> State:
        """One row that starts with the beginning-of-text token, where the tokenizer has one, and the prompt.

        source : not looked at; the language model has no part in it

        Raises:
            InvalidOption: a prompt of fewer than two tokens.
        """
        return self._begun(prompt)

    @torch.no_grad()
    def _begin(self, prompt: str) -> State:
        bos = self.tokenizer.bos_token_id
        ids = ([] if bos is None else [bos]) + self._ids(prompt)
        if len(ids) < 2:
            raise InvalidOption(
                f"prompt={prompt!r}: gives {len(ids)} tokens; steering needs two or more, write more words"
            )
        self.check_room(len(ids), 0)
        tokens = torch.tensor([ids], device=self.device)
        padding = torch.zeros(1, dtype=torch.long, device=self.device)
        _, context = self._run(tokens[:, :-1], [], padding)
        return State(tokens, padding, context)

    @property
    def room(self) -> int | None:
        """Tokens that the model reads at most; None without a limit."""
        return getattr(self.model.config, "max_position_embeddings", None)

    def check_room(self, length: int, more: int) -> None:
        """Raises InvalidOption if the model cannot read `more` tokens after `length`."""
        room = self.room
        if room is not None and length + more > room:
            raise InvalidOption(
                f"max_new_tokens={more} (max_length={length + more}): "
                f"after {length} tokens of prompt the language model takes at most {room - length}"
            )

    def forward(self, state: State, context: Context | None = None) -> tuple[Tensor, Context]:
        """Logits after the state's last tokens, shape (rows, vocabulary), and the context grown by these tokens.

        context : in place of the state's own, of the same shapes
        """
        return self._run(state.last, state.context if context is None else context, state.padding)

    def _run(self, tokens: Tensor, context: Context, padding: Tensor) -> tuple[Tensor, Context]:
        output = self.model(**self._inputs(tokens, context, padding), logits_to_keep=1)
        return output.logits[:, -1], [(layer.keys, layer.values) for layer in output.past_key_values.layers]

    def hidden(self, tokens: Tensor, context: Context, padding: Tensor) -> Tensor:
        """Hidden states of the last layer at `tokens`, (rows, length), that follow a context: (rows, length, width)."""
        inputs = self._inputs(tokens, context, padding)
        return self.model(**inputs, output_hidden_states=True, logits_to_keep=1).hidden_states[-1]

    def _inputs(self, tokens: Tensor, context: Context, padding: Tensor) -> dict:
        length = tokens.shape[1] + (context[0][0].shape[2] if context else 0)
        positions = torch.arange(length, device=tokens.device) - padding[:, None]
        return {
            "input_ids": tokens,
            "attention_mask": (positions >= 0).long(),
            "position_ids": positions[:, -tokens.shape[1] :].clamp(min=0),  # of filling, anything that exists
            "past_key_values": DynamicCache(context),
            "use_cache": True,
        }

    def text(self, tokens: tuple[int, ...], prompt: str = "") -> str:
        """The text of a prompt and the tokens after it, without the beginning-of-text token."""
        text = self._decoded((self._ids(prompt) if prompt else []) + list(tokens))
        return text.replace(self.tokenizer.bos_token, "") if self.tokenizer.bos_token else text

    def continuation(self, prompt: str, tokens: tuple[int, ...]) -> str:
        """What generated tokens add to the prompt's text."""
        # Decoded together: SentencePiece tokenizers drop the space before a text's first word.
        ids = self._ids(prompt)
        return self._decoded(ids + list(tokens))[len(self._decoded(ids)) :]

    def end_ids(self, end_tokens: tuple[str, ...]) -> list[int]:
        """Ids of the tokens that end a caption, see `end_id`."""
        return [self.end_id(token) for token in end_tokens]

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

    def _decoded(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
