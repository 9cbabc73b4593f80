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

# Imported when they are first asked for, because torch and transformers take seconds.
_LATE = {
    "Caption": "caption",
    "Captioner": "decoding",
    "EmbeddingClassifier": "classifiers.embedding",
    "LanguageModel": "language_model",
    "MagicOptions": "options",
    "PrefixLanguageModel": "captioners.prefix",
    "ProximalOptions": "options",
    "SteeringOptions": "options",
    "Step": "caption",
    "TextClassifier": "classifiers.text",
    "WeightedClassifiers": "classifiers.weighted",
    "captioner_model": "captioners.conditional",
    "load": "preset.load",
    "presets": "preset.load",
}

_ERRORS = (InvalidData, InvalidOption, MissingWeights, UnknownPreset, UnreadableSource, UnwritableOutput, ZscapError)

__all__ = sorted([*_LATE, *(error.__name__ for error in _ERRORS)])


def __getattr__(name: str):
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
