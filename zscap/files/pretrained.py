"""The one reader of checkpoints as transformers saves them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .packed import bounded, check_finite, read_json, reading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..language_model import LanguageModel

WHOLE = "give a folder with all of its files, or fetch it again"
PREFIXES = "", "generation_", "preprocessor_", "processor_", "tokenizer_"
SETTINGS = [f"{prefix}config.json" for prefix in PREFIXES]  # that transformers reads
MAX_SIZE, MAX_LISTED = 2**24, 10**4  # in them: more than any number of tokens, and of any list's layers
SIDES = "height width shortest_edge longest_edge size crop_size feature_size n_fft fft_window_size"
MAX_SIZES = {**dict.fromkeys(SIDES.split(), 2**12), "spec_size": 2**10, "sampling_rate": 2**18}  # of what multiplies
MAX_FRAMES = 2**15  # of a spectrogram, which has five minutes of them


def read_checkpoint(
    path: str | Path,
    model_class: str,
    *part_classes: str,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
) -> tuple:
    """A model and what belongs to it, such as its tokenizer; no code of the checkpoint's runs.

    Args:
        path: a folder, or the hub id of what is in the local cache.
        model_class, part_classes: names of transformers' classes. A model with its tokenizer alone is tried on a word.
        revision: a commit of the hub's; None for the newest in the cache.
        device, dtype: where and in which precision the model runs.

    Raises:
        MissingWeights: something is not there, damaged, or there only in part.
    """
    import transformers  # late, as are its classes: each takes seconds
    from transformers.utils import cached_file

    whole = partial(reading, f"checkpoint of {model_class}", path, WHOLE)
    where = {"revision": revision, "local_files_only": True}
    with whole():
        folder = Path(cached_file(path, "config.json", **where)).parent
        check_settings(folder)
        where["trust_remote_code"] = False
        with bounded(sum(file.stat().st_size for file in folder.iterdir())):
            model, info = getattr(transformers, model_class).from_pretrained(
                path, dtype=dtype, output_loading_info=True, weights_only=True, **where
            )
        parts = [getattr(transformers, name).from_pretrained(path, **where) for name in part_classes]
        # transformers goes on with random weights, without further layers, and with a tokenizer that knows no word.
        missing = info["missing_keys"] & dict(model.named_parameters()).keys()  # buffers it makes anew
        layers = {_numberless(name, model) for name in model.state_dict()}
        further = {name for name in info["unexpected_keys"] if _numberless(name, model) in layers}
        for names, what in ((missing, "missing"), (further, "of layers that config.json does not count")):
            if names:
                raise ValueError(f"{len(names)} weights are {what}: {min(names)}, ...")
        check_finite(model.state_dict())
        tokenizers = [part for part in (getattr(part, "tokenizer", part) for part in parts) if _is_tokenizer(part)]
        for tokenizer in tokenizers:
            if len(tokenizer) <= len(tokenizer.all_special_tokens):
                raise ValueError("its tokenizer has no words")
            length = min(tokenizer.model_max_length, MAX_SIZE)
            if not isinstance(length, int) or length < 1:
                raise ValueError(f"its tokenizer has model_max_length={length!r}; must be a whole number above 0")
    model = model.to(device)
    if parts == tokenizers:
        with whole():
            _read_word(model, *tokenizers)
    return model, *parts


def fetched(path: str | Path) -> Path:
    """The folder of a checkpoint, or of a hub id's newest files but for pickles, downloaded where they are not here.

    Raises:
        OSError, ValueError: it is neither here nor within reach; or its settings are refused, see `check_settings`.
    """
    from huggingface_hub import snapshot_download

    kinds = ["*.json", "*.txt", "*.model", "*.safetensors"]
    folder = Path(path) if Path(path).is_dir() else Path(snapshot_download(str(path), allow_patterns=kinds))
    check_settings(folder)
    return folder


def check_settings(folder: Path) -> None:
    """Refuses settings that transformers would be busy with for long, that fill the memory, or that fetch code.

    Raises:
        OSError, ValueError: a file of them cannot be read, or names what is refused.
    """
    for name in SETTINGS:
        if (folder / name).is_file():
            _check_settings(read_json(folder / name), name)


def _check_settings(settings: dict, file: str) -> None:
    for name, value in settings.items():
        if name.endswith("attn_implementation") and "/" in str(value):
            raise ValueError(f"{file} has {name}={value}; must be no code of the hub's")
        for item in value if isinstance(value, list) else [value]:
            most = MAX_SIZES.get(name, MAX_LISTED if isinstance(value, list) else MAX_SIZE)
            if name.endswith("token_id") and not isinstance(item, int | None):
                raise ValueError(f"{file} has {name}={item!r}; must be a whole number")
            if isinstance(item, dict):
                _check_settings(item, file)
            elif isinstance(item, int) and item > most and not re.search("token|max_length|theta", name):  # no sizes
                raise ValueError(f"{file} has {name}={item}; must be at most {most}")
    if "feature_size" in settings:
        seconds = max(settings.get("chunk_length", 30), settings.get("max_length_s", 30))
        rate, hop = settings.get("sampling_rate", 16_000), settings.get("hop_length", 160)
        if not (rate >= 1 and max(settings.get("nb_max_samples", 0), seconds * rate) <= MAX_FRAMES * hop):
            raise ValueError(f"{file} asks for a window of more than {MAX_FRAMES} frames, or of none")


def _numberless(name: str, model: PreTrainedModel) -> str:
    return re.sub(r"\d+", "#", name.removeprefix(f"{model.base_model_prefix}."))


def _is_tokenizer(part: object) -> bool:
    return hasattr(part, "all_special_tokens")


def _read_word(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Reads a word, which fails where settings of the model and of its tokenizer do not fit each other."""
    import torch

    ids = [*filter(None, [tokenizer.bos_token_id]), *tokenizer("a word").input_ids]
    with torch.no_grad():
        check_finite({"its output": model(torch.tensor([ids], device=model.device))[0]})


def load_language_model(
    path: str | Path, *, revision: str | None = None, device: str | torch.device = "cpu", dtype: str = "float32"
) -> LanguageModel:
    """Read a causal language model of transformers; arguments and errors as of `read_checkpoint`."""
    from ..language_model import LanguageModel

    parts = "AutoModelForCausalLM", "AutoTokenizer"
    return LanguageModel(*read_checkpoint(path, *parts, revision=revision, device=device, dtype=dtype))
