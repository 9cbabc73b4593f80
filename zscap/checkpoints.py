"""The one reader of checkpoints as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MissingWeights

if TYPE_CHECKING:
    import torch


def read_checkpoint(
    path: str | Path,
    model_class: str,
    *part_classes: str,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    local_files_only: bool = True,
) -> tuple:
    """A model and what belongs to it, such as its tokenizer; no code of the checkpoint's runs.

    Args:
        path: a folder, or the hub id of what is in the local cache.
        model_class, part_classes: names of transformers' classes.
        revision: a commit of the hub's; None for the newest in the cache.
        device, dtype: where and in which precision the model runs.
        local_files_only: False lets transformers download what is not in the cache.

    Raises:
        MissingWeights: something is not there, damaged, or there only in part.
    """
    import transformers  # late, as are its classes: each takes seconds

    where = {"revision": revision, "local_files_only": local_files_only, "trust_remote_code": False}
    weights = {"dtype": dtype, "output_loading_info": True, "weights_only": True}
    try:
        model, info = getattr(transformers, model_class).from_pretrained(path, **weights, **where)
        parts = [getattr(transformers, name).from_pretrained(path, **where) for name in part_classes]
    except Exception as error:  # of any kind: the tokenizers library raises plain ones
        problem = " ".join(str(error).split())[:200]
    else:
        problem = _problem(model, info, parts)
        if problem is None:
            return model.to(device), *parts
    raise MissingWeights(
        f"{path}: no whole checkpoint of {model_class} can be read ({problem}); "
        "give a folder with all of its files, or fetch it again"
    )


def _problem(model, info: dict, parts: list) -> str | None:
    """What transformers passes over: it goes on with random weights, and with a tokenizer that knows no word."""
    missing = sorted(info["missing_keys"] & dict(model.named_parameters()).keys())  # buffers it makes anew
    for names, what in ((missing, "missing"), (sorted(info["unexpected_keys"]), "of another network")):
        if names:
            return f"{len(names)} weights are {what}: {names[0]}, ..."
    for part in parts:
        tokenizer = getattr(part, "tokenizer", part)
        if hasattr(tokenizer, "all_special_tokens") and len(tokenizer) <= len(tokenizer.all_special_tokens):
            return "its tokenizer has no words"
    return None
