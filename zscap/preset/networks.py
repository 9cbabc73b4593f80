"""The networks of a preset, read and put together."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration
from transformers.utils import logging as transformers_logging

from ..captioner import Captioner
from ..classifiers.embedding import EmbeddingClassifier
from ..classifiers.text import TextClassifier
from ..errors import InvalidOption
from ..files import data_folder
from ..keywords import read_keywords
from ..language_models.captioners import captioner_model
from ..language_models.causal import LanguageModel
from ..language_models.prefix import PrefixLanguageModel
from ..matchers import CLAP, EmbeddedMatcher, ImageBind
from ..matchers.scenes import SceneMatcher
from ..options import DecodingOptions
from .places import Part, Weights

AUDIOSET = Path("audioset", "class_labels_indices.csv")  # below the data folder


def put_together(
    parts: dict[str, Part], options: DecodingOptions, device: str, scoring_dtype: str | None, batch_size: int
) -> Captioner:
    """A captioner of networks by role, each loaded after those it needs; the rest is as for `zscap.load`."""
    _check_device(device)
    if device.startswith("mps") and scoring_dtype is None:
        scoring_dtype = "float32"  # mps knows no float64
    scoring = {"device": device} | ({} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)})
    if options.num_keywords and not options.keywords and (data_folder() / AUDIOSET).is_file():
        options = options.override(keywords=read_keywords(data_folder() / AUDIOSET))
    transformers_logging.disable_progress_bar()  # a second's work; the bar would end up in captions' output
    networks: dict = {}
    for role, part in parts.items():
        networks[role] = NETWORKS[part.network](part, networks, device if role == "language_model" else scoring)
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


def _causal(part: Part, networks: dict, device: str) -> LanguageModel:
    settings = _where(part.weights)
    model = AutoModelForCausalLM.from_pretrained(dtype=_lm_dtype(part, device), **settings)
    return LanguageModel(model.to(device), AutoTokenizer.from_pretrained(**settings))


def _prefix(part: Part, networks: dict, device: str) -> LanguageModel:
    settings = {"language_model": part.weights.path / "language_model", "dtype": _lm_dtype(part, device)}
    return PrefixLanguageModel.load(part.weights.path, networks["encoder"], device=device, **settings)


def _whisper(part: Part, networks: dict, device: str) -> LanguageModel:
    settings = _where(part.weights)
    model = WhisperForConditionalGeneration.from_pretrained(dtype=_lm_dtype(part, device), **settings)
    return captioner_model(model.to(device), AutoProcessor.from_pretrained(**settings))


def _where(weights: Weights) -> dict:
    revision = getattr(weights, "revision", None)
    return {
        "pretrained_model_name_or_path": weights.path,
        "local_files_only": True,
        **({} if revision is None else {"revision": revision}),
    }


def _lm_dtype(part: Part, device: str) -> str:
    return "float32" if device.startswith("mps") else part.dtype  # mps knows no float64


def _embedding_classifier(part: Part, networks: dict, scoring: dict) -> EmbeddingClassifier:
    encoder = networks.get("matcher") or networks["encoder"]
    return EmbeddingClassifier.load(part.weights.path / part.weights.file, encoder, **scoring)


# How each network is read: (its part, the networks before it, where it runs) -> the network.
NETWORKS = {
    "causal": _causal,
    "prefix": _prefix,
    "whisper": _whisper,
    "embedded": lambda part, _, scoring: EmbeddedMatcher.load(part.weights.path, **scoring),
    "scenes": lambda part, _, scoring: SceneMatcher.load(part.weights.path, **scoring),
    "imagebind": lambda part, _, scoring: ImageBind.load(part.weights.path / "imagebind_huge.pth", **scoring),
    "clap": lambda part, _, scoring: CLAP.load(part.weights.path, revision=part.weights.revision, **scoring),
    "embedding-classifier": _embedding_classifier,
    "text-classifier": lambda part, _, scoring: TextClassifier.load(part.weights.path, **scoring),
}
