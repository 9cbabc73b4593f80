"""The networks of a preset, read and put together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers.utils import logging as transformers_logging

from ..captioner import Captioner
from ..errors import InvalidOption
from ..options import DecodingOptions
from .places import Part

# Each network's module is imported when a preset has it: a start should not take longer for what it does not use.


def put_together(
    parts: dict[str, Part], options: DecodingOptions, device: str, scoring_dtype: str | None, batch_size: int
) -> Captioner:
    """A captioner of networks by role, each loaded after those it needs; the rest is as for `zscap.load`."""
    _check_device(device)
    mps = device.startswith("mps")  # it knows no float64
    scoring_dtype = scoring_dtype or ("float32" if mps else None)
    scoring = {"device": device} | ({} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)})
    transformers_logging.disable_progress_bar()  # a second's work; the bar would end up in captions' output
    networks: dict = {}
    for role, part in parts.items():
        writes = {"device": device, "dtype": "float32" if mps else part.dtype}
        settings = writes if role == "language_model" else scoring
        networks[role] = NETWORKS[part.network](part, networks, settings)
    networks.pop("encoder", None)
    return Captioner(networks.pop("language_model"), **networks, options=options, batch_size=batch_size)


def _check_device(device: str) -> None:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.partition(":")[0], False):
        have = ", ".join(name for name, available in there.items() if available)
        raise InvalidOption(f"device {device!r}: not on this machine; choose from {have}")


def _dtype(name: str) -> torch.dtype:
    choices = ("float16", "bfloat16", "float32", "float64")
    if name not in choices:
        raise InvalidOption(f"scoring_dtype={name!r}: must be one of {', '.join(choices)}")
    return getattr(torch, name)


def _causal(part: Part, networks: dict, settings: dict):
    from ..language_models.causal import LanguageModel

    return LanguageModel.load(part.weights.path, revision=part.weights.revision, **settings)


def _prefix(part: Part, networks: dict, settings: dict):
    from ..language_models.prefix import PrefixLanguageModel

    folder = part.weights.path
    return PrefixLanguageModel.load(folder, networks["encoder"], language_model=folder / "language_model", **settings)


def _whisper(part: Part, networks: dict, settings: dict):
    from ..language_models.captioners import captioner_model
    from ..language_models.causal import read_checkpoint

    names = "WhisperForConditionalGeneration", "AutoProcessor"
    return captioner_model(*read_checkpoint(part.weights.path, *names, revision=part.weights.revision, **settings))


def _embedded(part: Part, networks: dict, settings: dict):
    from ..matchers.embedded import EmbeddedMatcher

    return EmbeddedMatcher.load(part.weights.path, **settings)


def _scenes(part: Part, networks: dict, settings: dict):
    from ..matchers.scenes import SceneMatcher

    return SceneMatcher.load(part.weights.path, **settings)


def _imagebind(part: Part, networks: dict, settings: dict):
    from ..matchers.imagebind import ImageBind

    return ImageBind.load(part.weights.path / "imagebind_huge.pth", **settings)


def _clap(part: Part, networks: dict, settings: dict):
    from ..matchers.clap import CLAP

    return CLAP.load(part.weights.path, revision=part.weights.revision, **settings)


def _embedding_classifier(part: Part, networks: dict, settings: dict):
    from ..classifiers.embedding import EmbeddingClassifier

    encoder = networks.get("matcher") or networks["encoder"]
    return EmbeddingClassifier.load(part.weights.path / "classifier.safetensors", encoder, **settings)


def _text_classifier(part: Part, networks: dict, settings: dict):
    from ..classifiers.text import TextClassifier

    return TextClassifier.load(part.weights.path, **settings)


# How each network is read: (its part, the networks before it, where and in which precision it runs) -> the network.
NETWORKS: dict[str, Callable] = {
    "causal": _causal,
    "prefix": _prefix,
    "whisper": _whisper,
    "embedded": _embedded,
    "scenes": _scenes,
    "imagebind": _imagebind,
    "clap": _clap,
    "embedding-classifier": _embedding_classifier,
    "text-classifier": _text_classifier,
}
