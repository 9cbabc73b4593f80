"""Zero-shot captions for sounds: a language model proposes, a matcher listens, a classifier asks if it can be heard."""

from importlib import import_module

from .errors import (
    InvalidData,
    InvalidOption,
    MissingWeights,
    UnknownPreset,
    UnreadableSource,
    UnwritableOutput,
    ZscapError,
)
from .options import MagicOptions, ProximalOptions, SteeringOptions
from .presets import load, presets

# Imported when they are first asked for, because torch and transformers take seconds.
_LATE = {
    "Caption": "caption",
    "Captioner": "decoding",
    "EmbeddingClassifier": "classifier",
    "LanguageModel": "language_model",
    "PrefixLanguageModel": "prefix_model",
    "Step": "caption",
    "TextClassifier": "classifier",
    "WeightedClassifiers": "classifier",
    "captioner_model": "generators",
}

__all__ = [
    "Caption",
    "Captioner",
    "EmbeddingClassifier",
    "InvalidData",
    "InvalidOption",
    "LanguageModel",
    "MagicOptions",
    "MissingWeights",
    "PrefixLanguageModel",
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


def __getattr__(name: str):
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
