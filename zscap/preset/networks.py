"""The networks of a preset, read one after the other."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable

import torch

from ..errors import InvalidData, InvalidOption, suggestion
from ..files.packed import out_of_memory
from .weights import Part

# How each network is read: `load(path, device=, dtype=)`. By name, since only what a preset has should be imported.
NETWORKS: dict[str, str | Callable] = {
    "causal": "zscap.files.pretrained:load_language_model",
    "prefix": "zscap.captioners.prefix:PrefixLanguageModel.load",
    "speech": "zscap.captioners.conditional:load_speech_captioner",
    "embedded": "zscap.matchers.embedded:EmbeddedMatcher.load",
    "small": "zscap.matchers.small:SmallMatcher.load",
    "sentence": "zscap.matchers.sentence:SentenceEncoder.load",
    "scenes": "zscap.matchers.scenes:SceneMatcher.load",
    "imagebind": "zscap.matchers.imagebind:ImageBind.load",
    "clap": "zscap.matchers.clap:CLAP.load",
    "embedding-classifier": "zscap.classifiers.embedding:EmbeddingClassifier.load",
    "text-classifier": "zscap.classifiers.text:TextClassifier.load",
}
ON_EMBEDDINGS = {"prefix", "embedding-classifier"}  # these also take encoder=, the preset's texts, matcher or encoder


def read_networks(
    parts: dict[str, Part], roles: Iterable[str], device: str = "cpu", scoring_dtype: str | None = None
) -> dict:
    """Networks of some roles, each loaded after those it needs, which come in the order of `parts`.

    Raises:
        InvalidOption: a device that this machine does not have, or that has too little memory; an unknown dtype.
        InvalidData: an unknown network.
        MissingWeights: weights are damaged.
    """
    _check_device(device)
    mps = device.startswith("mps")  # it knows no float64
    scoring_dtype = scoring_dtype or ("float32" if mps else None)
    scoring = {} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)}
    networks: dict = {}
    for role in roles:
        part = parts[role]
        settings = {"dtype": "float32" if mps else part.dtype} if role == "language_model" else scoring
        settings = settings | part.settings
        if role == "matcher" and "texts" in networks:
            settings["texts"] = networks["texts"]
        if part.network in ON_EMBEDDINGS:
            settings["encoder"] = next(networks[each] for each in ("texts", "matcher", "encoder") if each in networks)
        networks[role] = _read(part, device, settings)
    return {role: network for role, network in networks.items() if role not in ("encoder", "texts")}


def _read(part: Part, device: str, settings: dict) -> object:
    if part.network not in NETWORKS:
        raise InvalidData(f"network={part.network!r}: {suggestion(part.network, NETWORKS)}")
    load = NETWORKS[part.network]
    load = pkgutil.resolve_name(load) if isinstance(load, str) else load
    try:
        return load(part.weights.path, device=device, **settings)
    except Exception as error:  # of CUDA it has a class, of MPS words alone
        if not out_of_memory(error):
            raise
        size = sum((part.weights.root / name).stat().st_size for name in part.weights.names) / 1e9
        raise InvalidOption(
            f"device={device!r}: has no room for {part.weights.path}, whose files have {size:.1f} GB ({error!s:.100}); "
            "choose another device, scoring_dtype='float16' or a smaller preset"
        ) from error


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
