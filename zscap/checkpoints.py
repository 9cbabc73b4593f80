"""The one reader of checkpoints as transformers saves them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .files import bounded, reading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MAX_SIZE, MAX_LISTED = 2**24, 10**4  # in a config: more than any number of tokens, and of any list's layers


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
        model_class, part_classes: names of transformers' classes.
        revision: a commit of the hub's; None for the newest in the cache.
        device, dtype: where and in which precision the model runs.

    Raises:
        MissingWeights: something is not there, damaged, or there only in part.
    """
    import transformers  # late, as are its classes: each takes seconds
    from transformers.utils import cached_file

    where = {"revision": revision, "local_files_only": True}
    with reading(f"checkpoint of {model_class}", path, "give a folder with all of its files, or fetch it again"):
        config = Path(cached_file(path, "config.json", **where))
        _check_sizes(json.loads(config.read_text()))
        where["trust_remote_code"] = False
        with bounded(sum(file.stat().st_size for file in config.parent.iterdir())):
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
        for tokenizer in (getattr(part, "tokenizer", part) for part in parts):
            if hasattr(tokenizer, "all_special_tokens") and len(tokenizer) <= len(tokenizer.all_special_tokens):
                raise ValueError("its tokenizer has no words")
    return model.to(device), *parts


def _check_sizes(config: dict) -> None:
    """Refuses numbers that would keep transformers busy before it makes a weight, such as a list of 10**9 layers."""
    for name, value in config.items():
        for item in value if isinstance(value, list) else [value]:
            most = MAX_LISTED if isinstance(value, list) else MAX_SIZE
            if isinstance(item, dict):
                _check_sizes(item)
            elif isinstance(item, int) and item > most and "token" not in name:  # tokens' ids are no sizes
                raise ValueError(f"config.json has {name}={item}; must be at most {most}")


def _numberless(name: str, model: PreTrainedModel) -> str:
    return re.sub(r"\d+", "#", name.removeprefix(f"{model.base_model_prefix}."))
