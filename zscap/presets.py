"""Presets: presets.toml says what each is made of; here the parts are looked for, fetched and put together."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration
from transformers.utils import logging as transformers_logging

from .classifier import EmbeddingClassifier, TextClassifier
from .data import data_folder
from .decoding import Captioner
from .errors import InvalidOption, MissingWeights, UnknownPreset, suggestion
from .generators import captioner_model
from .keywords import read_keywords
from .language_model import LanguageModel
from .matchers import CLAP, CLIP, EmbeddedMatcher, ImageBind
from .matchers.scenes import SceneMatcher
from .options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from .prefix_model import PrefixLanguageModel
from .weights import PLACES, Weights
from .weights import fetch as fetch_weights

PRESETS = Path(__file__).parent / "presets.toml"
OPTIONS = {"steering": SteeringOptions, "proximal": ProximalOptions, "magic": MagicOptions}
AUDIOSET = Path("audioset", "class_labels_indices.csv")  # below the data folder
ROLES = ("encoder", "matcher", "classifier", "language_model")


def load(
    preset: str = "embedded",
    *,
    device: str = "cpu",
    scoring_dtype: str | None = None,
    batch_size: int = 16,
    **changes,
) -> Captioner:
    """A captioner by name, from weights that are on this machine; nothing is downloaded.

    Args:
        preset: a name that `presets()` lists.
        device: "cpu", "cuda" or "mps".
        scoring_dtype: "float16" or "bfloat16" lets the networks that score texts run in half precision, which is
            faster on a GPU and changes some captions (notebooks/94_benchmark.ipynb); None leaves them as they are.
        batch_size: sources decoded together.
        changes: options that differ from the preset's, by name.

    Raises:
        UnknownPreset: no such name.
        InvalidOption: an unknown option, an impossible value, or a device that this machine does not have.
        MissingWeights: weights are absent or damaged; the message says how to get them.
    """
    made = about(preset)
    _check_device(device)
    options = made.options.override(**changes)
    if device.startswith("mps") and scoring_dtype is None:
        scoring_dtype = "float32"
    scoring = {"device": device} | ({} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)})
    if made.faults:
        raise MissingWeights(f"preset {preset!r} lacks {'; '.join(made.faults)}")
    if options.num_keywords and not options.keywords and (data_folder() / AUDIOSET).is_file():
        options = options.override(keywords=read_keywords(data_folder() / AUDIOSET))
    transformers_logging.disable_progress_bar()  # a second's work; the bar would end up in captions' output
    networks: dict = {}
    for role, part in made.parts.items():
        networks[role] = NETWORKS[part.network](part, networks, device if role == "language_model" else scoring)
    networks.pop("encoder", None)
    return Captioner(networks.pop("language_model"), **networks, options=options, batch_size=batch_size)


def presets() -> pd.DataFrame:
    """The presets: what each takes, whether this machine has all it needs, and what is missing where it does not."""
    rows = [
        {
            "preset": name,
            "ready": not made.faults,
            "takes": " or ".join(made.takes),
            "description": made.description,
            "license": made.license,
            "missing": "; ".join(made.faults),
        }
        for name, made in _presets().items()
    ]
    return pd.DataFrame(rows).set_index("preset")


def about(preset: str) -> Preset:
    """What presets.toml says of a preset.

    Raises:
        UnknownPreset: no such name.
    """
    if preset not in _presets():
        raise UnknownPreset(f"unknown preset {preset!r}: {suggestion(preset, _presets())}")
    return _presets()[preset]


def downloads(preset: str) -> list[Weights]:
    """What `zscap fetch` would download for a preset; `told` says what it is, how large, and under which licence.

    Raises:
        UnknownPreset: no such name.
    """
    return [
        part.weights
        for part in about(preset).parts.values()
        if hasattr(part.weights, "fetch") and part.weights.fault(preset) is not None
    ]


def fetch(preset: str) -> None:
    """Downloads what a preset needs and this machine lacks, at the pinned revision.

    Raises:
        UnknownPreset: no such name.
        MissingWeights: a server cannot be reached.
    """
    for weights in downloads(preset):
        fetch_weights(weights)


@dataclass(frozen=True)
class Part:
    """A network of a preset and where its weights lie."""

    network: str  # a key of NETWORKS
    weights: Weights
    dtype: str  # of a language model


@dataclass(frozen=True)
class Preset:
    name: str
    description: str
    takes: list[str]  # kinds of source: audio, image, video
    license: str
    options: DecodingOptions
    parts: dict[str, Part]  # by role, in the order in which they are loaded

    @property
    def faults(self) -> list[str]:
        """What keeps the preset from being loaded."""
        faults = (part.weights.fault(self.name) for part in self.parts.values())
        return [fault for fault in faults if fault is not None]


@cache
def _presets() -> dict[str, Preset]:
    table = tomllib.loads(PRESETS.read_text())
    return {name: _read(name, entry, table) for name, entry in table.items()}


def _read(name: str, entry: dict, table: dict) -> Preset:
    parts = {}
    for role in ROLES:
        made = entry.get(role)
        if isinstance(made, str):  # the same as another preset's
            made = table[made][role]
        if made is not None:
            place = {key: value for key, value in made.items() if key not in ("network", "place", "dtype")}
            parts[role] = Part(made["network"], PLACES[made["place"]](**place), made.get("dtype", "float32"))
    options = OPTIONS[entry["guidance"]](**entry["options"])
    return Preset(name, entry["description"], entry["takes"], entry["license"], options, parts)


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
    folder = part.weights.path
    return PrefixLanguageModel.load(folder, networks["encoder"], device=device, dtype=_lm_dtype(part, device))


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
    "clip": lambda part, _, scoring: CLIP.load(part.weights.path, revision=part.weights.revision, **scoring),
    "embedding-classifier": _embedding_classifier,
    "text-classifier": lambda part, _, scoring: TextClassifier.load(part.weights.path, **scoring),
}
