"""Zero-shot captions for sounds: a language model proposes, a matcher listens, a classifier asks if it can be heard."""

from .caption import Caption, Step
from .classifier import EmbeddingClassifier, TextClassifier, WeightedClassifiers
from .decoding import Captioner
from .errors import (
    InvalidData,
    InvalidOption,
    MissingWeights,
    UnknownPreset,
    UnreadableSource,
    UnwritableOutput,
    ZscapError,
)
from .generators import captioner_model
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
    "WeightedClassifiers",
    "ZscapError",
    "captioner_model",
    "load",
    "presets",
]
