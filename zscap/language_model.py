"""A frozen causal language model: prompt, key-value cache, next-token logits, and the same with a shifted cache."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache

from .errors import InvalidOption
from .roles import Source

if TYPE_CHECKING:  # transformers' other modules take seconds to import
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Cache = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (rows, heads, positions, head_dim)
PROMPTS_KEPT = 4  # their caches take 8 MB each for OPT-1.3B, and keywords make a prompt for every source


@dataclass(frozen=True)
class State:
    """Rows of one batch, each a text that is being written; shorter ones are padded at the left.

    Attributes:
        tokens: Tensor, shape = (rows, length), prompt included.
        padding: Tensor, shape = (rows,), how many of the row's tokens are padding.
        cache: keys and values of all tokens but the last.
        generated: Tensor, shape = (rows,), how many of the row's tokens were generated.
        given: what else the model reads at each step, by name; Tensors whose first dimension is the row.
    """

    tokens: Tensor
    padding: Tensor
    cache: Cache
    generated: Tensor
    given: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def last(self) -> Tensor:
        return self.tokens[:, -1:]

    @classmethod
    def of_prompt(cls, tokens: Tensor, cache: Cache, **given: Tensor) -> State:
        """One row of which nothing is generated yet; of the cache, what covers all of its tokens but the last."""
        length, zero = tokens.shape[1] - 1, torch.zeros(1, dtype=torch.long, device=tokens.device)
        cache = [(keys[:, :, :length], values[:, :, :length]) for keys, values in cache]
        return cls(tokens, zero, cache, zero, given)

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
                for layer in zip(*(state.cache for state in states), strict=True)
            ],
            torch.cat([state.generated for state in states]),
            {name: _padded([state.given[name] for state in states]) for name in states[0].given},
        )

    def extend(self, rows: Tensor, tokens: Tensor, cache: Cache) -> State:
        """The given rows, each with one more token; `cache` covers all tokens of this state."""
        padding = self.padding[rows]
        spare = int(padding.min()) if len(rows) else 0  # the longest row may have left
        same = torch.equal(rows, torch.arange(len(self), device=rows.device))  # and `given` may be large
        return State(
            torch.cat([self.tokens[rows, spare:], tokens[:, None]], dim=1),
            padding - spare,
            [(keys[rows, :, spare:], values[rows, :, spare:]) for keys, values in cache],
            self.generated[rows] + 1,
            self.given if same else {name: tensor[rows] for name, tensor in self.given.items()},
        )

    def _widened(self, length: int) -> State:
        more = length - self.tokens.shape[1]
        cache = [(pad(keys, (0, 0, more, 0)), pad(values, (0, 0, more, 0))) for keys, values in self.cache]
        return replace(self, tokens=pad(self.tokens, (more, 0)), padding=self.padding + more, cache=cache)


def _padded(tensors: list[Tensor]) -> Tensor:
    """Concatenated rows; where the tensors differ in other dimensions, zeros stand behind the smaller ones."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = torch.zeros(sum(map(len, tensors)), *shape, dtype=tensors[0].dtype, device=tensors[0].device)
    for rows, tensor in zip(padded.split([len(tensor) for tensor in tensors]), tensors, strict=True):
        rows[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded


class LanguageModel:
    """Any transformers causal language model with its tokenizer, frozen.

    Args:
        model: for example `AutoModelForCausalLM.from_pretrained(...)`.
        tokenizer: the one it was trained with.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._begun: dict[str, State] = {}  # of the last prompts; a memory that held a method would hold the model

    @property
    def device(self) -> torch.device:
        return self.model.device

    def begin(self, prompt: str, source: Source | None = None) -> State:
        """One row that starts with the beginning-of-text token, where the tokenizer has one, and the prompt.

        Args:
            prompt: what the text begins with.
            source: not read; the language model has no part in it.

        Raises:
            InvalidOption: a prompt of fewer than two tokens, or of more than the model reads.
        """
        state = self._begun.get(prompt) or self._begin(prompt)
        self._begun = dict([*self._begun.items(), (prompt, state)][-PROMPTS_KEPT:])
        return state

    @torch.no_grad()
    def _begin(self, prompt: str) -> State:
        ids = self._prompt_ids(prompt)
        if len(ids) < 2:
            raise InvalidOption(
                f"prompt={prompt!r}: gives {len(ids)} tokens; steering needs two or more, write more words"
            )
        self.check_length(len(ids), 1)
        tokens = torch.tensor([ids], device=self.device)
        _, cache = self._run(tokens[:, :-1], [], torch.zeros(1, dtype=torch.long, device=self.device))
        return State.of_prompt(tokens, cache)

    def _prompt_ids(self, prompt: str) -> list[int]:
        bos = self.tokenizer.bos_token_id
        return ([] if bos is None else [bos]) + self._ids(prompt)

    def prompt_length(self, prompt: str) -> int:
        """Tokens that a text begins with: the model's own start and the prompt; a source may add to them."""
        return len(self._prompt_ids(prompt))

    @property
    def max_length(self) -> int | None:
        """Tokens that the model reads at most; None without a limit."""
        config = self.model.config.get_text_config(decoder=True)
        return getattr(config, "max_target_positions", None) or getattr(config, "max_position_embeddings", None)

    def check_length(self, length: int, max_new_tokens: int) -> None:
        """Raises InvalidOption if the model cannot read `max_new_tokens` after `length` tokens of prompt."""
        limit = self.max_length
        if limit is None or length + max_new_tokens <= limit:
            return
        if length >= limit:
            raise InvalidOption(
                f"prompt: its {length} tokens leave none for a caption, the language model reads at most {limit}; "
                "shorten the prompt"
            )
        raise InvalidOption(
            f"max_new_tokens={max_new_tokens} (max_length={length + max_new_tokens}): "
            f"after {length} tokens of prompt the language model takes at most {limit - length}"
        )

    def forward(self, state: State, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Logits after the state's last tokens, shape (rows, vocabulary), and the cache grown by these tokens.

        Args:
            state: the rows.
            cache: in place of the state's own, of the same shapes.
        """
        return self._run(state.last, state.cache if cache is None else cache, state.padding)

    def _run(self, tokens: Tensor, cache: Cache, padding: Tensor) -> tuple[Tensor, Cache]:
        output = self.model(**self._inputs(tokens, cache, padding), logits_to_keep=1)
        return output.logits[:, -1], layers_of(output.past_key_values)

    def hidden(self, tokens: Tensor, cache: Cache, padding: Tensor) -> Tensor:
        """Hidden states of the last layer at `tokens`, (rows, length), that follow a cache: (rows, length, width)."""
        inputs = self._inputs(tokens, cache, padding)
        return self.model(**inputs, output_hidden_states=True, logits_to_keep=1).hidden_states[-1]

    def _inputs(self, tokens: Tensor, cache: Cache, padding: Tensor) -> dict:
        length = tokens.shape[1] + (cache[0][0].shape[2] if cache else 0)
        positions = torch.arange(length, device=tokens.device) - padding[:, None]
        return {
            "input_ids": tokens,
            "attention_mask": (positions >= 0).long(),
            "position_ids": positions[:, -tokens.shape[1] :].clamp(min=0),  # of padding, anything that exists
            "past_key_values": DynamicCache(cache),
            "use_cache": True,
        }

    def text(self, tokens: tuple[int, ...], prompt: str = "") -> str:
        """The text of a prompt and the tokens after it, without special tokens."""
        return self._decoded((self._ids(prompt) if prompt else []) + list(tokens))

    def continuation(self, prompt: str, tokens: tuple[int, ...]) -> str:
        """What generated tokens add to the prompt's text."""
        # Decoded together: SentencePiece tokenizers drop the space before a text's first word.
        ids = self._ids(prompt)
        return self._decoded(ids + list(tokens))[len(self._decoded(ids)) :]

    def end_ids(self, end_tokens: tuple[str, ...]) -> list[int]:
        """Ids of the tokens that end a caption: of `end_tokens`, then the model's own, none twice.

        One of several that the tokenizer does not know at all is left out: no caption can end with it.

        Raises:
            InvalidOption: one of `end_tokens` is no single token, or none is known.
        """
        known = [token for token in end_tokens if token in self._vocabulary or self._decoded(self._ids(token))]
        return list(dict.fromkeys([*map(self._end_id, known or end_tokens), *self.eos_ids]))

    def _end_id(self, end_token: str) -> int:
        if end_token in self._vocabulary:  # a tokenizer may put a space before a text
            return self._vocabulary[end_token]
        ids = self._ids(end_token)
        if len(ids) == 1 and self._decoded(ids):
            return ids[0]
        pieces = " ".join(map(repr, self.tokenizer.convert_ids_to_tokens(ids)))
        raise InvalidOption(
            f"end_token={end_token!r}: is no token of the language model, whose tokenizer makes {pieces or 'nothing'} "
            "of it; choose a single token, e.g. '.'"
        )

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return self.tokenizer.get_vocab()

    @cached_property
    def eos_ids(self) -> list[int]:
        """Ids of the tokens that end the model's own texts."""
        own = self.model.generation_config.eos_token_id
        own = getattr(self.model.config.get_text_config(decoder=True), "eos_token_id", None) if own is None else own
        ids = [self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
        return list(dict.fromkeys(token for token in ids if token is not None and 0 <= token < self.vocabulary_size))

    @property
    def vocabulary_size(self) -> int:
        """Number of logits; some models pad their tokenizer's vocabulary."""
        return self.model.get_output_embeddings().weight.shape[0]

    @cached_property
    def pieces(self) -> list[str]:
        """What each token adds to a text, one string per row of the vocabulary; special tokens add nothing."""
        # Behind a word, where WordPiece marks word starts and SentencePiece keeps their spaces.
        word = self._ids("a")
        number = min(self.vocabulary_size, len(self.tokenizer))
        start = len(self._decoded(word))
        texts = [text[start:] for text in self._decoded([[*word, token] for token in range(number)])]
        return texts + [""] * (self.vocabulary_size - number)

    def _decoded(self, ids: list[int] | list[list[int]]) -> str | list[str]:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def layers_of(cache: DynamicCache) -> Cache:
    """Keys and values of a cache of transformers."""
    return [(layer.keys, layer.values) for layer in cache.layers]
