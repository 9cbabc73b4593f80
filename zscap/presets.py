"""Presets: presets.toml says what each is made of; here the parts are looked for, fetched and put together."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from .classifier import EmbeddingClassifier, TextClassifier
from .decoding import Captioner
from .errors import InvalidOption, MissingWeights, NotYetAvailable, UnknownPreset, suggestion
from .language_model import LanguageModel
from .matchers.embedded import EmbeddedMatcher
from .options import SteeringOptions

PACKAGE = Path(__file__).parent
PARTS = ("language_model", "matcher", "classifier")


def load(preset: str = "embedded", *, device: str = "cpu", batch_size: int = 16, **changes) -> Captioner:
    """A captioner by name, from weights that are on this machine; nothing is downloaded.

    Args:
        preset: a name that `presets()` lists.
        device: "cpu", "cuda" or "mps".
        batch_size: sources decoded together.
        changes: options that differ from the preset's, by name.

    Raises:
        UnknownPreset: no such name.
        InvalidOption: an unknown option, an impossible value, or a device that this machine does not have.
        MissingWeights: weights are absent or damaged; the message says how to get them.
        NotYetAvailable: a network that zscap cannot load yet.
    """
    parts = _preset(preset)
    _check_device(device)
    options = SteeringOptions(**parts["options"]).override(**changes)
    faults = _faults(preset)
    if faults:
        error = MissingWeights if any(isinstance(fault, MissingWeights) for fault in faults) else NotYetAvailable
        raise error(f"preset {preset!r} lacks " + "; ".join(map(str, faults)))
    language_model = LanguageModel(*_language_model(parts["language_model"], device))
    matcher = EmbeddedMatcher.load(PACKAGE / parts["matcher"]["path"])
    if parts["classifier"]["kind"] == "embedding":
        classifier = EmbeddingClassifier.load(_file(parts["classifier"]), matcher)
    else:
        classifier = TextClassifier.load(parts["classifier"]["path"], device)
    return Captioner(language_model, matcher=matcher, classifier=classifier, options=options, batch_size=batch_size)


def presets() -> pd.DataFrame:
    """The presets: what each takes, whether this machine has all it needs, and what is missing where it does not."""
    rows = []
    for name, parts in _presets().items():
        faults = _faults(name)
        rows.append(
            {
                "preset": name,
                "ready": not faults,
                "takes": parts["takes"],
                "description": parts["description"],
                "license": parts["license"],
                "missing": "; ".join(map(str, faults)),
            }
        )
    return pd.DataFrame(rows).set_index("preset")


def fetch(preset: str) -> list[str]:
    """Downloads what a preset needs from the model hub, at the pinned revision; names what it fetched.

    Raises:
        UnknownPreset: no such name.
        MissingWeights: the hub cannot be reached.
    """
    fetched = []
    for part in PARTS:
        made = _preset(preset)[part]
        if made["kind"] == "hub":
            try:
                snapshot_download(
                    made["path"], revision=made["revision"], allow_patterns=["*.json", "*.txt", made["file"]]
                )
            except OSError as error:
                raise MissingWeights(f"{made['path']}: cannot be downloaded ({error}); check the network") from None
            fetched.append(made["path"])
    return fetched


@cache
def _presets() -> dict[str, dict]:
    return tomllib.loads((PACKAGE / "presets.toml").read_text())


def _preset(name: str) -> dict:
    if name not in _presets():
        raise UnknownPreset(f"unknown preset {name!r}: {suggestion(name, _presets())}")
    return _presets()[name]


def _check_device(device: str) -> None:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.partition(":")[0], False):
        have = ", ".join(name for name, available in there.items() if available)
        raise InvalidOption(f"device {device!r}: not on this machine; choose from {have}")


def _file(part: dict) -> Path:
    return PACKAGE / part["path"] / part["file"]


def _faults(preset: str) -> list[MissingWeights | NotYetAvailable]:
    faults = (_fault(_preset(preset)[part], preset) for part in PARTS)
    return [fault for fault in faults if fault is not None]


def _fault(part: dict, preset: str) -> MissingWeights | NotYetAvailable | None:
    """Why a part cannot be loaded, and how to get it; None where it is there and whole."""
    match part["kind"]:
        case "imagebind":
            return NotYetAvailable(f"ImageBind ({part['gigabytes']} GB, {part['url']}): not yet part of zscap")
        case "hub":
            if not isinstance(try_to_load_from_cache(part["path"], part["file"], revision=part["revision"]), str):
                return MissingWeights(f"{part['path']} ({part['gigabytes']} GB): run `zscap fetch {preset}`")
        case "trained":
            if not (Path(part["path"]) / part["file"]).is_file():
                return MissingWeights(f"the classifier in {part['path']}: run `{part['command']}`")
        case _:
            file = _file(part)
            if not file.is_file():
                return MissingWeights(f"{file}: absent; install zscap again")
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != part["sha256"]:
                    return MissingWeights(f"a whole {file}: its sha256 is not the published one; install zscap again")
    return None


def _language_model(part: dict, device: str):
    revision = part.get("revision")
    path = part["path"] if part["kind"] == "hub" else PACKAGE / part["path"]
    settings = {"revision": revision, "local_files_only": True} if revision else {"local_files_only": True}
    transformers_logging.disable_progress_bar()  # a second's work; the bar would end up in captions' output
    model = AutoModelForCausalLM.from_pretrained(
        path, use_safetensors=True, dtype=part.get("dtype", "float32"), **settings
    )
    return model.to(device), AutoTokenizer.from_pretrained(path, **settings)
