"""The networks of a preset, read and put together."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

import torch
from transformers.utils import logging as transformers_logging

from ..captioner import Captioner
from ..errors import InvalidData, InvalidOption, suggestion
from ..options import DecodingOptions
from .places import Part

# How each network is read: `load(path, device=, dtype=)`, and revision= where its place has one. By name, since only
# what a preset has should be imported.
NETWORKS: dict[str, str | Callable] = {
    "causal": "zscap.language_models.causal:LanguageModel.load",
    "prefix": "zscap.language_models.prefix:PrefixLanguageModel.load",
    "speech": "zscap.language_models.captioners:load_speech_captioner",
    "embedded": "zscap.matchers.embedded:EmbeddedMatcher.load",
    "scenes": "zscap.matchers.scenes:SceneMatcher.load",
    "imagebind": "zscap.matchers.imagebind:ImageBind.load",
    "clap": "zscap.matchers.clap:CLAP.load",
    "embedding-classifier": "zscap.classifiers.embedding:EmbeddingClassifier.load",
    "text-classifier": "zscap.classifiers.text:TextClassifier.load",
}
ON_EMBEDDINGS = {"prefix", "embedding-classifier"}  # these also take encoder=, the preset's matcher or encoder


def put_together(
    parts: dict[str, Part], options: DecodingOptions, device: str, scoring_dtype: str | None, batch_size: int
) -> Captioner:
    """A captioner of networks by role, each loaded after those it needs; the rest is as for `zscap.load`."""
    _check_device(device)
    mps = device.startswith("mps")  # it knows no float64
    scoring_dtype = scoring_dtype or ("float32" if mps else None)
    scoring = {} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)}
    transformers_logging.disable_progress_bar()  # a second's work; the bar would end up in captions' output
    networks: dict = {}
    for role, part in parts.items():
        settings = {"dtype": "float32" if mps else part.dtype} if role == "language_model" else scoring
        revision = {"revision": part.weights.revision} if part.weights.revision else {}
        settings = settings | revision | part.settings
        if part.network in ON_EMBEDDINGS:
            settings["encoder"] = networks.get("matcher") or networks["encoder"]
        if part.network not in NETWORKS:
            raise InvalidData(f"network={part.network!r}: {suggestion(part.network, NETWORKS)}")
        load = NETWORKS[part.network]
        load = pkgutil.resolve_name(load) if isinstance(load, str) else load
        networks[role] = load(part.weights.path, device=device, **settings)
    networks.pop("encoder", None)
    return Captioner(networks.pop("language_model"), **networks, options=options, batch_size=batch_size)


def _check_device(device: str) -> None:
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    there = [name for kind, count in counts.items() if count for name in (kind, *(f"{kind}:{n}" for n in range(count)))]
    if device not in there:
        raise InvalidOption(f"device {device!r}: not on this machine; choose from {', '.join(there)}")


def _dtype(name: str) -> torch.dtype:
    choices = ("float16", "bfloat16", "float32", "float64")
    if name not in choices:
        raise InvalidOption(f"scoring_dtype={name!r}: must be one of {', '.join(choices)}")
    return getattr(torch, name)
