"""The networks of a preset, read and put together."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable

import torch
from transformers.utils import logging as transformers_logging

from ..decoding import Captioner
from ..errors import InvalidData, InvalidOption, suggestion
from ..language_model import LanguageModel
from ..options import DecodingOptions
from .weights import Part

# How each network is read: `load(path, device=, dtype=)`, and revision= where its place has one. By name, since only
# what a preset has should be imported.
NETWORKS: dict[str, str | Callable] = {
    "causal": "zscap.files.pretrained:load_language_model",
    "prefix": "zscap.captioners.prefix:PrefixLanguageModel.load",
    "speech": "zscap.captioners.loading:load_speech_captioner",
    "embedded": "zscap.matchers.embedded:EmbeddedMatcher.load",
    "small": "zscap.matchers.small:SmallMatcher.load",
    "sentence": "zscap.matchers.sentence:SentenceEncoder.load",
    "scenes": "zscap.matchers.scenes:SceneMatcher.load",
    "imagebind": "zscap.matchers.imagebind:ImageBind.load",
    "clap": "zscap.matchers.clap:CLAP.load",
    "embedding-classifier": "zscap.classifiers.embedding:EmbeddingClassifier.load",
    "text-classifier": "zscap.classifiers.text:TextClassifier.load",
}
ON_EMBEDDINGS = {"prefix", "embedding-classifier"}  # these also take encoder=, the preset's matcher or encoder


def put_together(
    parts: dict[str, Part],
    options: DecodingOptions,
    device: str,
    scoring_dtype: str | None,
    batch_size: int,
    language_model: LanguageModel | None = None,
) -> Captioner:
    """A captioner of networks by role; the rest is as for `zscap.load`."""
    _check_device(device)
    roles = [role for role in parts if role != "language_model" or language_model is None]
    networks = read_networks(parts, roles, device, scoring_dtype)
    networks.setdefault("language_model", language_model)
    return Captioner(**networks, options=options, batch_size=batch_size)


def read_networks(
    parts: dict[str, Part], roles: Iterable[str], device: str = "cpu", scoring_dtype: str | None = None
) -> dict:
    """Networks of some roles, each loaded after those it needs, which come in the order of `parts`."""
    mps = device.startswith("mps")  # it knows no float64
    scoring_dtype = scoring_dtype or ("float32" if mps else None)
    scoring = {} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)}
    transformers_logging.disable_progress_bar()  # a second's work; the bar would end up in captions' output
    networks: dict = {}
    for role in roles:
        part = parts[role]
        settings = {"dtype": "float32" if mps else part.dtype} if role == "language_model" else scoring
        revision = {"revision": part.weights.revision} if part.weights.revision else {}
        settings = settings | revision | part.settings
        if "tokens" in settings:  # a role: the network reads its tokens as that one does
            settings["tokens"] = parts[settings["tokens"]].weights.path
        if role == "matcher" and "texts" in networks:
            settings["texts"] = networks.pop("texts")
        if part.network in ON_EMBEDDINGS:
            settings["encoder"] = networks.get("matcher") or networks["encoder"]
        if part.network not in NETWORKS:
            raise InvalidData(f"network={part.network!r}: {suggestion(part.network, NETWORKS)}")
        load = NETWORKS[part.network]
        load = pkgutil.resolve_name(load) if isinstance(load, str) else load
        networks[role] = load(part.weights.path, device=device, **settings)
    networks.pop("encoder", None)
    return networks


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
