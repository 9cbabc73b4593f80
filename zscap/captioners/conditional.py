"""What captioners of transformers share: how a source is read, and which tokens the model never writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InvalidOption, UnreadableSource
from ..language_model import Cache, LanguageModel
from ..roles import Source, source_name
from ..sources import read_audio, read_image

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

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin | PreTrainedTokenizerBase):
        tokenizer = getattr(processor, "tokenizer", processor)
        kinds = [kind for kind, part in PARTS.items() if getattr(processor, part, None) is not None]
        wanted = [kind for kind in PARTS if kind in model.input_modalities] or ["text"]
        self.kind = kinds[0] if kinds else "text"
        name, fix = type(processor).__name__, "give AutoProcessor.from_pretrained(...)"
        if not model.can_generate():
            raise InvalidOption(
                f"model={type(model).__name__}: generates no text; load one ...ForConditionalGeneration"
            )
        if not hasattr(tokenizer, "get_vocab"):
            raise InvalidOption(f"processor={name}: has no tokenizer; {fix}")
        if self.kind not in wanted:
            reads = f"{type(model).__name__} reads {' or '.join(wanted)}"
            raise InvalidOption(f"processor={name}: prepares {self.kind}, and {reads}; {fix}")
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

    def _allowed(self, logits: Tensor) -> Tensor:
        """Logits without the tokens that the model's own generation never writes."""
        suppressed = self.model.generation_config.suppress_tokens or []
        return logits.index_fill(1, torch.tensor(suppressed, dtype=torch.long, device=logits.device), SUPPRESSED)
