"""Captioners that transformers generates with, frozen: they read a source and write as a language model does.

So guidance needs no matcher (docs/METHODS.md, section 2; arXiv 2501.03183). Encoder-decoders read the source through
cross-attention (Whisper, BART, BLIP); multimodal decoders hold it in their cache, in front of the text (GIT,
Qwen2-Audio).
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ..errors import InvalidOption, UnreadableSource
from ..files.packed import check_finite, reading
from ..files.pretrained import WHOLE, read_checkpoint
from ..language_model import Cache, LanguageModel, State, layers_of
from ..roles import Source, source_name
from ..sources import read_audio, read_frames, read_image

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

PARTS = {"audio": "feature_extractor", "image": "image_processor"}  # of a processor, by what it prepares
SUPPRESSED = -1e4  # a logit; a difference of two minus infinities would be no number


class ConditionalModel(LanguageModel):
    """A language model that reads its source by itself.

    Args:
        model: a captioner of transformers.
        processor: with a tokenizer and a feature extractor or an image processor; the tokenizer alone for texts.

    Raises:
        InvalidOption: the model generates no text, or the processor lacks a part that the model needs.
    """

    frames: int | None = None  # of a video, for a model that sees several

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin | PreTrainedTokenizerBase):
        tokenizer = getattr(processor, "tokenizer", processor)
        self.kind = next((kind for kind, part in PARTS.items() if getattr(processor, part, None)), "text")
        reads = [kind for kind in PARTS if kind in model.input_modalities] or ["text"]
        network, name = type(model).__name__, type(processor).__name__
        if not model.can_generate():
            raise InvalidOption(f"model={network}: generates no text; load one ...ForConditionalGeneration")
        if not hasattr(tokenizer, "get_vocab") or self.kind not in reads:
            raise InvalidOption(
                f"processor={name}: must have a tokenizer and prepare {' or '.join(reads)}, which {network} reads; "
                "give AutoProcessor.from_pretrained(...)"
            )
        super().__init__(model, tokenizer)
        self.processor = processor

    def hidden(self, tokens: Tensor, cache: Cache, padding: Tensor) -> Tensor:
        """Not there: a source's tokens have no hidden states without the source.

        Raises:
            InvalidOption: always.
        """
        raise InvalidOption("alpha: compares words with a text that begins with words, not with a source; set it to 0")

    def _arguments(self, source: Source) -> dict:
        """A source as the processor takes it.

        Raises:
            UnreadableSource: a source that is no recording, image, video or text, whichever the model reads.
        """
        if self.kind == "audio":
            rate = self.processor.feature_extractor.sampling_rate
            return {"audio": read_audio(source, rate), "sampling_rate": rate}
        if self.kind == "image" and self.frames:
            images = read_frames(source, self.frames)
            return {"images": [images[index * len(images) // self.frames] for index in range(self.frames)]}
        if self.kind == "image":
            return {"images": read_image(source)}
        if not isinstance(source, str) or not source.strip():
            raise UnreadableSource(f"{source_name(source)}: not a text; this captioner reads texts")
        length, limit = len(self.tokenizer(source)["input_ids"]), self.max_length
        if limit is not None and length > limit:
            raise UnreadableSource(f"{source[:40]!r}...: {length} tokens; this captioner reads at most {limit}")
        return {"text": source}

    def _prepared(self, **arguments) -> dict[str, Tensor]:
        """What the processor makes of its arguments, on the model's device and in its precision."""
        inputs, dtype = self.processor(**arguments, return_tensors="pt"), self.model.dtype
        return {name: x.to(self.device, dtype if x.is_floating_point() else x.dtype) for name, x in inputs.items()}


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
        parameters = inspect.signature(self.decoder.forward).parameters
        own = "input_ids", "attention_mask", "position_ids"
        self.names = [name for name in own if self.prefix + name in parameters]
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
            InvalidOption: a prompt that is too long.
            UnreadableSource: a source of another kind than the model reads, or one that cannot be read.
        """
        tokens = torch.tensor([self._prompt_ids(prompt)], device=self.device)
        self.check_length(tokens.shape[1], 1)
        encoded = self.encoder(**self._prepared(**self._arguments(source))).last_hidden_state
        given = {"source": encoded, "mask": torch.ones(encoded.shape[:2], dtype=torch.long, device=self.device)}
        padding = torch.zeros(1, dtype=torch.long, device=self.device)
        cache = self._output(tokens, [], padding, given).past_key_values
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
        if "position_ids" in self.names or widths == [0]:
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
        never = torch.tensor(self.model.generation_config.suppress_tokens or [], dtype=torch.long, device=self.device)
        logits = output.logits[:, -1].index_fill(1, never, SUPPRESSED)  # as in the model's own generation
        return logits, layers_of(output.past_key_values.self_attention_cache)

    def _output(self, tokens: Tensor, cache: Cache, padding: Tensor, given: dict[str, Tensor]):
        inputs = self._inputs(tokens, cache, padding)
        cross = [tuple(layer.unbind(1)) for layer in given["cross"].unbind(1)] if "cross" in given else None
        both = EncoderDecoderCache(inputs["past_key_values"], DynamicCache(cross))
        own = {self.prefix + name: inputs[name] for name in self.names}
        if self.prefix:
            source = {"encoder_outputs": BaseModelOutput(given["source"]), "attention_mask": given["mask"]}
        else:
            source = {"encoder_hidden_states": given["source"], "encoder_attention_mask": given["mask"]}
        return self.decoder(**own, **source, past_key_values=both, use_cache=True)

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


class MultimodalModel(ConditionalModel):
    """A decoder that holds its source in front of the text: GIT, Qwen2-Audio and others that work as they do.

    Guidance steers the whole cache, the source's part included. Qwen2-Audio hears the first 30 s.

    Args:
        model: for example `Qwen2AudioForConditionalGeneration.from_pretrained(...)`.
        processor: with a tokenizer and a feature extractor or an image processor.
        instruction: what the model reads before the caption. A text that says where the source goes, such as
            "<|audio_bos|><|AUDIO|><|audio_eos|>Generate the caption in English:", is taken as it is; another one goes
            through the processor's chat template, where it has one.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, instruction: str = ""):
        super().__init__(model, processor)
        git = model.config.model_type == "git"
        # GIT's image takes part of the cache, but has neither tokens nor positions of its own.
        self.unnumbered = model.git.encoder.layer[0].attention.self.image_patch_tokens if git else 0
        self.frames = getattr(model.config, "num_image_with_embedding", None)
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
            InvalidOption: a prompt that is too long.
            UnreadableSource: a source of another kind than the model reads, or one that cannot be read.
        """
        inputs = self._prepared(text=self.before + prompt, **self._arguments(source))
        ids = self._opened(inputs.pop("input_ids")[0].tolist())
        features = {name: x for name, x in inputs.items() if name not in ("attention_mask", "token_type_ids")}
        if self.frames:
            features["pixel_values"] = features["pixel_values"][None]
        self.check_length(self.unnumbered + len(ids), 1)
        tokens = torch.tensor([ids], device=self.device)
        output = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **features, use_cache=True)
        # Penalties look at a row's last tokens: for the image stands the text's first one, which changes none of them.
        tokens = torch.cat([tokens[:, :1].expand(1, self.unnumbered), tokens], dim=1)
        return State.of_prompt(tokens, layers_of(output.past_key_values))

    def prompt_length(self, prompt: str) -> int:
        """Tokens that a text begins with: the instruction and the prompt; an audio source adds to them."""
        return self.unnumbered + len(self._opened(self.tokenizer(self.before + prompt)["input_ids"]))

    def _opened(self, ids: list[int]) -> list[int]:
        """Without what ends a text, as a tokenizer of BERT's kind ends every one."""
        ends = self.tokenizer.sep_token_id, self.tokenizer.eos_token_id
        while len(ids) > 1 and ids[-1] in ends:
            ids = ids[:-1]
        return ids

    @property
    def max_length(self) -> int | None:
        """Tokens that the model reads at most, source included; None without a limit."""
        limit = super().max_length
        return None if limit is None else limit + self.unnumbered

    def _inputs(self, tokens: Tensor, cache: Cache, padding: Tensor) -> dict:
        inputs = super()._inputs(tokens, cache, padding)
        if self.unnumbered:
            inputs["position_ids"] = inputs["position_ids"] - self.unnumbered
            # GIT would widen a mask of two dimensions, as if the image stood before the padding.
            hidden = 1 - inputs["attention_mask"][:, None, None]
            inputs["attention_mask"] = hidden.to(self.model.dtype) * torch.finfo(self.model.dtype).min
        return inputs


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


def load_speech_captioner(path: str | Path, **settings) -> LanguageModel:
    """Read a captioner of the Whisper kind; arguments and errors as of `zscap.files.pretrained.read_checkpoint`."""
    captioner = captioner_model(*read_checkpoint(path, "AutoModelForSpeechSeq2Seq", "AutoProcessor", **settings))
    with reading("captioner", path, WHOLE):
        heard = captioner.begin("a word", (np.linspace(-1, 1, 16_000), 16_000))
        check_finite({"its output": captioner.forward(heard)[0]})
    return captioner
