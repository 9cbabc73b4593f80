"""Captioners that transformers generates with, frozen: their own input preparation, and a decoder that can be steered.

An encoder-decoder (Whisper, BART, BLIP) reads its source through cross-attention; a multimodal decoder (GIT,
Qwen2-Audio) holds it in its cache, in front of the text. Both write as a language model does, so guidance needs no
matcher (METHODS 2; arXiv 2501.03183).
"""

from __future__ import annotations

import inspect
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.modeling_outputs import BaseModelOutput

from ..errors import InvalidOption, UnreadableSource
from ..sources import Source, read_audio, read_frames, read_image, source_name
from .causal import Context, LanguageModel, State

PARTS = {"audio": "feature_extractor", "image": "image_processor"}  # of a processor, by what it prepares
SUPPRESSED = -1e4  # a logit; a difference of two minus infinities would be no number
DECODING = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}


def captioner_model(
    model: PreTrainedModel, processor: ProcessorMixin | PreTrainedTokenizerBase, instruction: str = ""
) -> LanguageModel:
    """The language model that lies in a captioner of transformers, or in a causal language model.

    Args:
        model: with a decoder that caches, for example `WhisperForConditionalGeneration.from_pretrained(...)`.
        processor: the one it was trained with, for example `AutoProcessor.from_pretrained(...)`.
        instruction: what a `MultimodalModel` reads before the caption.

    Raises:
        InvalidOption: the model generates no text, or the processor lacks a part that the model needs.

    >>> import zscap, transformers
    >>> model = transformers.AutoModelForImageTextToText.from_pretrained(name)  # doctest: +SKIP
    >>> processor = transformers.AutoProcessor.from_pretrained(name)  # doctest: +SKIP
    >>> captioner = zscap.Captioner(zscap.captioner_model(model, processor), classifier=classifier)  # doctest: +SKIP
    """
    if model.config.is_encoder_decoder or model.config.model_type == "blip":
        return EncoderDecoderModel(model, processor)
    if not any(kind in model.input_modalities for kind in PARTS):
        return LanguageModel(model, processor)
    return MultimodalModel(model, processor, instruction)


class _Generator(LanguageModel):
    """What both kinds share: how a source is read, what ends a caption, and what a token adds to a text."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin | PreTrainedTokenizerBase):
        tokenizer = getattr(processor, "tokenizer", processor)
        kinds = [kind for kind, part in PARTS.items() if getattr(processor, part, None) is not None]
        wanted = [kind for kind in PARTS if kind in model.input_modalities] or ["text"]
        self.kind = kinds[0] if kinds else "text"
        name = type(processor).__name__
        if not model.can_generate():
            raise InvalidOption(
                f"model={type(model).__name__}: generates no text; load one ...ForConditionalGeneration"
            )
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InvalidOption(f"processor={name}: has no tokenizer; give AutoProcessor.from_pretrained(...)")
        if self.kind not in wanted:
            raise InvalidOption(
                f"processor={name}: prepares {self.kind}, and {type(model).__name__} reads "
                f"{' or '.join(wanted)}; give AutoProcessor.from_pretrained(...)"
            )
        super().__init__(model, tokenizer)
        self.processor = processor

    def hidden(self, tokens: Tensor, context: Context, padding: Tensor) -> Tensor:
        """Not there: a source's tokens have no hidden states without the source.

        Raises:
            InvalidOption: always.
        """
        raise InvalidOption("alpha: compares words with a text that begins with words, not with a source; set it to 0")

    def end_ids(self, end_tokens: tuple[str, ...]) -> list[int]:
        """Ids of the tokens that end a caption: `end_tokens`, and those that end the model's own captions."""
        return list(dict.fromkeys([*super().end_ids(end_tokens), *self._eos_ids]))

    @property
    def _eos_ids(self) -> list[int]:
        if self.model.config.model_type == "blip":  # its eos_token_id is another token's
            return [self.model.config.text_config.sep_token_id]
        ids = self.model.generation_config.eos_token_id
        return ids if isinstance(ids, list) else [] if ids is None else [ids]

    @cached_property
    def pieces(self) -> list[str]:
        """What each token adds to a text, one string per row of the vocabulary; special tokens add nothing."""
        # Behind a word, where WordPiece marks word starts and SentencePiece keeps their spaces.
        word = self._ids("a")
        number = min(self.vocabulary_size, len(self.tokenizer))
        texts = self.tokenizer.batch_decode([[*word, token] for token in range(number)], **DECODING)
        start = len(self._decoded(word))
        return [text[start:] for text in texts] + [""] * (self.vocabulary_size - number)

    def _decoded(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, **DECODING)

    def _arguments(self, source: Source) -> dict:
        """A source as the processor takes it.

        Raises:
            UnreadableSource: a source that is no recording, image, video or text, whichever the model reads.
        """
        if self.kind == "audio":
            rate = self.processor.feature_extractor.sampling_rate
            return {"audio": read_audio(source, rate), "sampling_rate": rate}
        if self.kind == "image":
            return {"images": read_image(source)}
        if not isinstance(source, str) or not source.strip():
            raise UnreadableSource(f"{source_name(source)}: not a text; this captioner reads texts")
        length = len(self.tokenizer(source)["input_ids"])
        if self.room is not None and length > self.room:
            raise UnreadableSource(f"{source[:40]!r}...: {length} tokens; this captioner reads at most {self.room}")
        return {"text": source}

    def _moved(self, inputs: dict) -> dict[str, Tensor]:
        dtype = self.model.dtype
        return {name: x.to(self.device, dtype if x.is_floating_point() else x.dtype) for name, x in inputs.items()}

    def _allowed(self, logits: Tensor) -> Tensor:
        """Logits without the tokens that the model's own generation never writes."""
        suppressed = self.model.generation_config.suppress_tokens or []
        return logits.index_fill(1, torch.tensor(suppressed, dtype=torch.long, device=logits.device), SUPPRESSED)


class EncoderDecoderModel(_Generator):
    """A decoder that looks at an encoded source: Whisper, BART, BLIP and their like.

    Guidance steers the decoder's self-attention; the cross-attention keeps its keys and values, worked out once.
    A text begins with the model's own start tokens and the prompt. Those of Whisper are its tokenizer's, see
    `WhisperTokenizer.set_prefix_tokens`; it hears the first 30 s. Where the start is a single token and the prompt
    gives none, there is no context yet and the first word is not steered.

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
        ids = self._start_ids() + self._ids(prompt)
        self.check_room(len(ids), 0)
        features = self.processor(**self._arguments(source), return_tensors="pt")
        encoded = self.encoder(**self._moved(features)).last_hidden_state
        given = {"source": encoded, "mask": torch.ones(encoded.shape[:2], dtype=torch.long, device=self.device)}
        tokens = torch.tensor([ids], device=self.device)
        padding = torch.zeros(1, dtype=torch.long, device=self.device)
        cache = self._output(tokens, [], padding, given).past_key_values
        if not isinstance(cache, EncoderDecoderCache):
            raise InvalidOption(f"model={type(self.model).__name__}: its decoder keeps no cache, which guidance steers")
        given["cross"] = torch.stack(
            [torch.stack([layer.keys, layer.values], dim=1) for layer in cache.cross_attention_cache.layers], dim=1
        )
        layers = cache.self_attention_cache.layers
        return State(tokens, padding, [(layer.keys[:, :, :-1], layer.values[:, :, :-1]) for layer in layers], given)

    @property
    def room(self) -> int | None:
        """Tokens that the decoder reads at most; None without a limit."""
        config = self.model.config.get_text_config(decoder=True)
        return getattr(config, "max_target_positions", None) or getattr(config, "max_position_embeddings", None)

    def forward(self, state: State, context: Context | None = None) -> tuple[Tensor, Context]:
        """Logits after the state's last tokens, shape (rows, vocabulary), and the context grown by these tokens.

        context : of the self-attention, in place of the state's own, of the same shapes
        """
        context = state.context if context is None else context
        lengths = state.padding.unique().tolist()
        if self.takes_positions or lengths == [0]:
            return self._step(state.last, context, state.padding, state.given)
        # A decoder that counts positions by itself would count the filling: rows of one length go together.
        groups, parts = [], []
        for filling in lengths:
            rows = (state.padding == filling).nonzero().flatten()
            cut = [(keys[rows, :, filling:], values[rows, :, filling:]) for keys, values in context]
            given = {name: tensor[rows] for name, tensor in state.given.items()}
            logits, grown = self._step(state.last[rows], cut, torch.zeros_like(rows), given)
            groups.append(rows)
            parts.append((logits, *(pad(tensor, (0, 0, filling, 0)) for layer in grown for tensor in layer)))
        order = torch.cat(groups).argsort()
        logits, *tensors = [torch.cat(part)[order] for part in zip(*parts, strict=True)]
        return logits, list(zip(tensors[::2], tensors[1::2], strict=True))

    def _step(
        self, tokens: Tensor, context: Context, padding: Tensor, given: dict[str, Tensor]
    ) -> tuple[Tensor, Context]:
        output = self._output(tokens, context, padding, given)
        layers = output.past_key_values.self_attention_cache.layers
        return self._allowed(output.logits[:, -1]), [(layer.keys, layer.values) for layer in layers]

    def _output(self, tokens: Tensor, context: Context, padding: Tensor, given: dict[str, Tensor]):
        inputs = self._inputs(tokens, context, padding)
        cross = [tuple(layer.unbind(1)) for layer in given["cross"].unbind(1)] if "cross" in given else None
        cache = EncoderDecoderCache(inputs.pop("past_key_values"), DynamicCache(cross))
        if not self.takes_positions:
            del inputs["position_ids"]
        if self.prefix:
            inputs = {self.prefix + name if name != "use_cache" else name: x for name, x in inputs.items()}
            source = {"encoder_outputs": BaseModelOutput(given["source"]), "attention_mask": given["mask"]}
        else:
            source = {"encoder_hidden_states": given["source"], "encoder_attention_mask": given["mask"]}
        return self.decoder(**inputs, **source, past_key_values=cache)

    def _start_ids(self) -> list[int]:
        """What stands before every text, as the model's own generation has it."""
        kind, generation = self.model.config.model_type, self.model.generation_config
        if kind == "whisper":
            return self.tokenizer.prefix_tokens
        if kind == "blip":
            return [self.model.config.text_config.bos_token_id]
        ids = [generation.decoder_start_token_id, generation.forced_bos_token_id]
        return [token for token in ids if token is not None]


class MultimodalModel(_Generator):
    """A decoder that holds its source in front of the text: GIT, Qwen2-Audio and others that work as they do.

    Guidance steers the whole context, the source's part included. Qwen2-Audio hears the first 30 s.

    Args:
        model: for example `Qwen2AudioForConditionalGeneration.from_pretrained(...)`.
        processor: with a tokenizer and a feature extractor or an image processor.
        instruction: what the model reads before the caption. A text that names the source's place, such as
            "<|audio_bos|><|AUDIO|><|audio_eos|>Generate the caption in English:", is taken as it is; another one goes
            through the processor's chat template, where it has one.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, instruction: str = ""):
        super().__init__(model, processor)
        git = model.config.model_type == "git"
        # GIT's image has places in the cache, but neither tokens nor positions of its own.
        self.unnumbered = model.git.encoder.layer[0].attention.self.image_patch_tokens if git else 0
        self.frames = getattr(model.config, "num_image_with_embedding", None) if git else None
        mark = getattr(processor, f"{self.kind}_token", None)
        if (mark is None or mark not in instruction) and getattr(processor, "chat_template", None):
            content = [{"type": self.kind}, {"type": "text", "text": instruction}]
            message = [{"role": "user", "content": content}]
            instruction = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        self.before = instruction

    @torch.no_grad()
    def begin(self, prompt: str, source: Source) -> State:
        """One row: the source, the instruction and the prompt.

        Raises:
            InvalidOption: a prompt that is too long, or a model without a cache.
            UnreadableSource: a source of another kind than the model reads, or one that cannot be read.
        """
        inputs = self._moved(self.processor(text=self.before + prompt, **self._arguments(source), return_tensors="pt"))
        ids = inputs.pop("input_ids")[0].tolist()
        while len(ids) > 1 and ids[-1] in (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id):
            ids.pop()  # a tokenizer of BERT's kind ends every text
        features = {name: x for name, x in inputs.items() if name not in ("attention_mask", "token_type_ids")}
        if self.frames:
            features["pixel_values"] = features["pixel_values"][None]
        self.check_room(self.unnumbered + len(ids), 0)
        tokens = torch.tensor([ids], device=self.device)
        output = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **features, use_cache=True)
        if output.past_key_values is None:
            raise InvalidOption(f"model={type(self.model).__name__}: keeps no cache, which guidance steers")
        # Penalties look at a row's last tokens: in the image's places the text's first one changes none of them.
        tokens = torch.cat([tokens[:, :1].expand(1, self.unnumbered), tokens], dim=1)
        context = [(layer.keys[:, :, :-1], layer.values[:, :, :-1]) for layer in output.past_key_values.layers]
        return State(tokens, torch.zeros(1, dtype=torch.long, device=self.device), context)

    @property
    def room(self) -> int | None:
        """Tokens that the model reads at most, source included; None without a limit."""
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if room is None else room + self.unnumbered

    def _arguments(self, source: Source) -> dict:
        if not self.frames:
            return super()._arguments(source)
        images = read_frames(source, self.frames)
        return {"images": [images[place * len(images) // self.frames] for place in range(self.frames)]}

    def _run(self, tokens: Tensor, context: Context, padding: Tensor) -> tuple[Tensor, Context]:
        logits, cache = super()._run(tokens, context, padding)
        return self._allowed(logits), cache

    def _inputs(self, tokens: Tensor, context: Context, padding: Tensor) -> dict:
        inputs = super()._inputs(tokens, context, padding)
        if self.unnumbered:
            inputs["position_ids"] = inputs["position_ids"] - self.unnumbered
            # GIT would widen a mask of two dimensions, as if the image stood before the filling.
            hidden = 1 - inputs["attention_mask"][:, None, None]
            inputs["attention_mask"] = hidden.to(self.model.dtype) * torch.finfo(self.model.dtype).min
        return inputs
