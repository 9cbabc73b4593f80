"""Multimodal decoders as language models: the cache holds the source in front of the text (GIT, Qwen2-Audio)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InvalidOption
from ..language_model import Cache, State, layers_of
from ..roles import Source
from ..sources import read_frames
from .conditional import ConditionalModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


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
        inputs = self._prepared(text=self.before + prompt, **self._arguments(source))
        ids = self._opened(inputs.pop("input_ids")[0].tolist())
        features = {name: x for name, x in inputs.items() if name not in ("attention_mask", "token_type_ids")}
        if self.frames:
            features["pixel_values"] = features["pixel_values"][None]
        self.check_length(self.unnumbered + len(ids), 1)
        tokens = torch.tensor([ids], device=self.device)
        output = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **features, use_cache=True)
        if output.past_key_values is None:
            raise InvalidOption(f"model={type(self.model).__name__}: keeps no cache, which guidance steers")
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

    def _arguments(self, source: Source) -> dict:
        if not self.frames:
            return super()._arguments(source)
        images = read_frames(source, self.frames)
        return {"images": [images[index * len(images) // self.frames] for index in range(self.frames)]}

    def _run(self, tokens: Tensor, cache: Cache, padding: Tensor) -> tuple[Tensor, Cache]:
        logits, cache = super()._run(tokens, cache, padding)
        return self._allowed(logits), cache

    def _inputs(self, tokens: Tensor, cache: Cache, padding: Tensor) -> dict:
        inputs = super()._inputs(tokens, cache, padding)
        if self.unnumbered:
            inputs["position_ids"] = inputs["position_ids"] - self.unnumbered
            # GIT would widen a mask of two dimensions, as if the image stood before the padding.
            hidden = 1 - inputs["attention_mask"][:, None, None]
            inputs["attention_mask"] = hidden.to(self.model.dtype) * torch.finfo(self.model.dtype).min
        return inputs
