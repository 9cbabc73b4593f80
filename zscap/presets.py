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
from .errors import InvalidOption, MissingWeights, UnknownPreset, suggestion
from .language_model import LanguageModel
from .matchers import EmbeddedMatcher, ImageBind
from .options import SteeringOptions

PACKAGE = Path(__file__).parent
PARTS = ("language_model", "matcher", "classifier")


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
    parts = _preset(preset)
    _check_device(device)
    options = SteeringOptions(**parts["options"]).override(**changes)
    if device.startswith("mps") and scoring_dtype is None:
        scoring_dtype = "float32"
    scoring = {"device": device} | ({} if scoring_dtype is None else {"dtype": _dtype(scoring_dtype)})
    faults = _faults(preset)
    if faults:
        raise MissingWeights(f"preset {preset!r} lacks " + "; ".join(map(str, faults)))
    language_model = LanguageModel(*_language_model(parts["language_model"], device))
    made = parts["matcher"]
    if made["kind"] == "imagebind":
        matcher = ImageBind.load(Path(made["path"]) / made["file"], **scoring)
    else:
        matcher = EmbeddedMatcher.load(PACKAGE / made["path"], **scoring)
    made = parts["classifier"]
    if made["kind"] == "embedding":
        classifier = EmbeddingClassifier.load(_file(made), matcher, **scoring)
    else:
        classifier = TextClassifier.load(made["path"], **scoring)
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
    """Downloads what a preset needs, at the pinned revision; names what it fetched.

    Raises:
        UnknownPreset: no such name.
        MissingWeights: a server cannot be reached.
    """
    fetched = []
    for part in PARTS:
        made = _preset(preset)[part]
        if _fault(made, preset) is None or made["kind"] not in ("hub", "imagebind"):
            continue
        try:
            if made["kind"] == "hub":
                snapshot_download(
                    made["path"], revision=made["revision"], allow_patterns=["*.json", "*.txt", made["file"]]
                )
            else:
                for name, url in made["urls"].items():
                    if not (Path(made["path"]) / name).is_file():
                        Path(made["path"]).mkdir(parents=True, exist_ok=True)
                        torch.hub.download_url_to_file(url, str(Path(made["path"]) / name))
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


def _dtype(name: str) -> torch.dtype:
    choices = ("float16", "bfloat16", "float32", "float64")
    if name not in choices:
        raise InvalidOption(f"scoring_dtype={name!r}: must be one of {', '.join(choices)}")
    return getattr(torch, name)


def _file(part: dict) -> Path:
    return PACKAGE / part["path"] / part["file"]


def _faults(preset: str) -> list[MissingWeights]:
    faults = (_fault(_preset(preset)[part], preset) for part in PARTS)
    return [fault for fault in faults if fault is not None]


def _fault(part: dict, preset: str) -> MissingWeights | None:
    """Why a part cannot be loaded, and how to get it; None where it is there and whole."""
    match part["kind"]:
        case "imagebind":
            if not all((Path(part["path"]) / name).is_file() for name in part["urls"]):
                size = f"{part['gigabytes']} GB, {part['license']}"
                return MissingWeights(f"ImageBind in {part['path']} ({size}): run `zscap fetch {preset}`")
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
    dtype = "float32" if device.startswith("mps") else part.get("dtype", "float32")  # mps knows no float64
    model = AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, dtype=dtype, **settings)
    return model.to(device), AutoTokenizer.from_pretrained(path, **settings)
