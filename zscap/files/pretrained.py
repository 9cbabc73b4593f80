"""The one reader of checkpoints as transformers saves them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from ..language_model import LanguageModel
from .checks import read_json
from .packed import MAX_SIZE, check_finite, check_fits, check_sizes, reading

WHOLE = "give a folder with all of its files, or fetch it again"
SETTINGS = "config.json generation_config.json preprocessor_config.json processor_config.json tokenizer_config.json"
_LOCK = threading.RLock()  # what transformers shows is a setting of the whole process


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

    is_folder = os.path.isdir(path) or os.path.isabs(path) or len(str(path)) > 96  # the hub has no longer names
    fix = WHOLE if is_folder else f"give a folder with all of its files, or run `hf download {path}`"
    with reading(f"checkpoint of {model_class}", path, fix):
        folder = Path(cached_file(path, "config.json", revision=revision, local_files_only=True)).parent
        check_settings(folder)
        local = {"local_files_only": True, "trust_remote_code": False}
        kind = getattr(transformers, model_class)
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        with torch.device("meta"):
            built = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
        check_fits(built, sum(file.stat().st_size for file in folder.iterdir()))
        with quiet():
            model, info = kind.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, weights_only=True, **local
            )
        # transformers goes on with random weights, without further layers, and with a tokenizer that knows no word.
        if missing := info["missing_keys"] & dict(model.named_parameters()).keys():  # buffers it makes anew
            raise ValueError(f"{len(missing)} weights are missing: {min(missing)}, ...")
        prefix = f"{model.base_model_prefix}."
        if further := _numberless(info["unexpected_keys"], prefix) & _numberless(model.state_dict(), prefix):
            raise ValueError(f"it has weights of layers that config.json does not count: {min(further)}, ...")
        check_finite(model.state_dict())
        parts = [getattr(transformers, name).from_pretrained(folder, **local) for name in part_classes]
        for part in parts:
            tokenizer = getattr(part, "tokenizer", part)
            if hasattr(tokenizer, "all_special_tokens"):
                _check_tokenizer(tokenizer)
        model = model.to(device)
        if part_classes == ("AutoTokenizer",):  # a word fails where settings of both do not fit each other
            ids = [*filter(None, [tokenizer.bos_token_id]), *tokenizer("a word").input_ids]
            with torch.no_grad():
                check_finite({"its output": model(torch.tensor([ids], device=device))[0]})
    return model, *parts


def load_language_model(path: str | Path, **settings) -> LanguageModel:
    """A causal language model from a folder, or by its hub id from the local cache.

    Args:
        path, settings: revision, device, dtype: as for `read_checkpoint`, and so are its errors.
    """
    return LanguageModel(*read_checkpoint(path, "AutoModelForCausalLM", "AutoTokenizer", **settings))


@contextmanager
def quiet() -> Iterator[None]:
    """Lets transformers and the hub's client show no bars and warnings, and puts their settings back."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    with _LOCK, ExitStack() as afterwards:
        for each in (hub, logging):
            afterwards.callback(each.set_verbosity, each.get_verbosity())
            each.set_verbosity_error()
        if logging.is_progress_bar_enabled():
            afterwards.callback(logging.enable_progress_bar)
            logging.disable_progress_bar()
        yield


def check_settings(folder: Path) -> None:
    """Refuses settings that transformers would be busy with for long, that fill the memory, or that fetch code.

    Raises:
        OSError, ValueError: a file of them cannot be read, or names what is refused.
    """
    for file in SETTINGS.split():
        if (folder / file).is_file():
            settings = read_json(folder / file)
            check_sizes(settings, file)
            for name, value in settings.items():
                if name.endswith("attn_implementation") and "/" in str(value):
                    raise ValueError(f"{file} has {name}={value}; must be no code of the hub's")
                ids = value if isinstance(value, list) else [value]
                if name.endswith("token_id") and not all(isinstance(each, int | None) for each in ids):
                    raise ValueError(f"{file} has {name}={value!r}; must be a whole number")


def _check_tokenizer(tokenizer) -> None:
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError("its tokenizer has no words")
    length = min(tokenizer.model_max_length, MAX_SIZE)
    if not isinstance(length, int) or length < 1:
        raise ValueError(f"its tokenizer has model_max_length={length!r}; must be a whole number above 0")


def _numberless(names: Iterable[str], prefix: str) -> set[str]:
    return {re.sub(r"\d+", "#", name.removeprefix(prefix)) for name in names}
