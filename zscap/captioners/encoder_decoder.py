"""Encoder-decoders as language models: the decoder reads its source through cross-attention (Whisper, BART, BLIP)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ..errors import InvalidOption
from ..language_model import Cache, State, layers_of
from ..roles import Source
from .conditional import ConditionalModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin


class EncoderDecoderModel(ConditionalModel):
    """A decoder that looks at an encoded source: Whisper, BART, BLIP and their like.

    Guidance steers the decoder's self-attention; the cross-attention keeps its keys and values, worked out once.
    A text begins with the model's own start tokens and the prompt. Those of Whisper are its tokenizer's, see
    `WhisperTokenizer.set_prefix_tokens`; it hears the first 30 s. Where the start is a single token and the prompt
    gives none, the cache is empty yet and the first word is not steered.

    Args:
        model: for example `BlipForConditionalGeneration.from_pretrained(...)`.
        processor: with a tokenizer and a feature extractor or an image processor; the tokenizer alone for texts.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin | PreTrainedTokenizerBase):
        super().__init__(model, processor)
        blip = model.config.model_type == "blip"
        self.encoder = model.vision_model if blip else model.get_encoder()
        self.decoder = model.text_decoder if blip else model
        self.prefix = "" if blip else "decoder_"  # of the names of the decoder's inputs
        self.takes_positions = f"{self.prefix}position_ids" in inspect.signature(self.decoder.forward).parameters
        if blip:
            self.eos_ids = [model.config.text_config.sep_token_id]  # its eos_token_id is another token's

    @property
    def vocabulary_size(self) -> int:
        """Number of logits; some models pad their tokenizer's vocabulary."""
        return self.decoder.get_output_embeddings().weight.shape[0]

    @torch.no_grad()
    def begin(self, prompt: str, source: Source) -> State:
        """One row: the start tokens and the prompt, beside the encoded source.

        Raises:
            InvalidOption: a prompt that is too long, or a decoder without a cache.
            UnreadableSource: a source of another kind than the model reads, or one that cannot be read.
        """
        tokens = torch.tensor([self._prompt_ids(prompt)], device=self.device)
        self.check_length(tokens.shape[1], 1)
        encoded = self.encoder(**self._prepared(**self._arguments(source))).last_hidden_state
        given = {"source": encoded, "mask": torch.ones(encoded.shape[:2], dtype=torch.long, device=self.device)}
        padding = torch.zeros(1, dtype=torch.long, device=self.device)
        cache = self._output(tokens, [], padding, given).past_key_values
        if not isinstance(cache, EncoderDecoderCache):
            raise InvalidOption(f"model={type(self.model).__name__}: its decoder keeps no cache, which guidance steers")
        cross = [torch.stack(layer, dim=1) for layer in layers_of(cache.cross_attention_cache)]
        return State.of_prompt(tokens, layers_of(cache.self_attention_cache), **given, cross=torch.stack(cross, dim=1))

    def forward(self, state: State, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Logits after the state's last tokens, shape (rows, vocabulary), and the cache grown by these tokens.

        Args:
            state: the rows.
            cache: of the self-attention, in place of the state's own, of the same shapes.
        """
        cache = state.cache if cache is None else cache
        widths = state.padding.unique().tolist()
        if self.takes_positions or widths == [0]:
            return self._step(state.last, cache, state.padding, state.given)
        # A decoder that counts positions by itself would count the padding: rows of one length go together.
        groups, parts = [], []
        for width in widths:
            rows = (state.padding == width).nonzero().flatten()
            cut = [(keys[rows, :, width:], values[rows, :, width:]) for keys, values in cache]
            given = {name: tensor[rows] for name, tensor in state.given.items()}
            logits, grown = self._step(state.last[rows], cut, torch.zeros_like(rows), given)
            groups.append(rows)
            parts.append((logits, *(pad(tensor, (0, 0, width, 0)) for layer in grown for tensor in layer)))
        order = torch.cat(groups).argsort()
        logits, *tensors = [torch.cat(part)[order] for part in zip(*parts, strict=True)]
        return logits, list(zip(tensors[::2], tensors[1::2], strict=True))

    def _step(self, tokens: Tensor, cache: Cache, padding: Tensor, given: dict[str, Tensor]) -> tuple[Tensor, Cache]:
        output = self._output(tokens, cache, padding, given)
        return self._allowed(output.logits[:, -1]), layers_of(output.past_key_values.self_attention_cache)

    def _output(self, tokens: Tensor, cache: Cache, padding: Tensor, given: dict[str, Tensor]):
        inputs = self._inputs(tokens, cache, padding)
        cross = [tuple(layer.unbind(1)) for layer in given["cross"].unbind(1)] if "cross" in given else None
        both = EncoderDecoderCache(inputs.pop("past_key_values"), DynamicCache(cross))
        if not self.takes_positions:
            del inputs["position_ids"]
        if self.prefix:
            inputs = {self.prefix + name if name != "use_cache" else name: x for name, x in inputs.items()}
            source = {"encoder_outputs": BaseModelOutput(given["source"]), "attention_mask": given["mask"]}
        else:
            source = {"encoder_hidden_states": given["source"], "encoder_attention_mask": given["mask"]}
        return self.decoder(**inputs, **source, past_key_values=both)

    def _prompt_ids(self, prompt: str) -> list[int]:
        """The prompt behind what stands before every text, as the model's own generation has it."""
        kind, generation = self.model.config.model_type, self.model.generation_config
        if kind == "whisper":
            start = self.tokenizer.prefix_tokens
        elif kind == "blip":
            start = [self.model.config.text_config.bos_token_id]
        else:
            start = [generation.decoder_start_token_id, generation.forced_bos_token_id]
        return [token for token in start if token is not None] + self._ids(prompt)
