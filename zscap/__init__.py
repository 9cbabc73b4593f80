"""Zero-shot captions for sounds: a language model proposes, a matcher listens, a classifier asks if it can be heard."""

from .classifier import EmbeddingClassifier, TextClassifier
from .decoding import Caption, Captioner, Step
from .errors import (
    InvalidData,
    InvalidOption,
    MissingWeights,
    UnknownPreset,
    UnreadableSource,
    UnwritableOutput,
    ZscapError,
)
from .language_model import LanguageModel
from .options import MagicOptions, ProximalOptions, SteeringOptions
from .presets import load, presets

__all__ = [
    "Caption",
    "Captioner",
    "EmbeddingClassifier",
    "InvalidData",
    "InvalidOption",
    "LanguageModel",
    "MagicOptions",
    "MissingWeights",
    "ProximalOptions",
    "SteeringOptions",
    "Step",
    "TextClassifier",
    "UnknownPreset",
    "UnreadableSource",
    "UnwritableOutput",
    "ZscapError",
    "load",
    "presets",
]
