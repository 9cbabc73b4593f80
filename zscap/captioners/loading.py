"""Captioners that transformers generates with, frozen: their own input preparation, and a decoder that can be steered.

They write as a language model does, so guidance needs no matcher (docs/METHODS.md, section 2; arXiv 2501.03183).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files.packed import check_finite, reading
from ..files.pretrained import WHOLE, read_checkpoint
from ..language_model import LanguageModel
from .conditional import PARTS
from .encoder_decoder import EncoderDecoderModel
from .multimodal import MultimodalModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin


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
