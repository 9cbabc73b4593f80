"""Weights on disk as matchers take them: checkpoints of transformers, and zscap's own files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    FeatureExtractionMixin,
    ImageProcessingMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import MissingWeights

Network = TypeVar("Network", bound=PreTrainedModel)
Reader = TypeVar("Reader", bound=FeatureExtractionMixin | ImageProcessingMixin)


def load_parts(
    network: type[Network],
    reader: type[Reader],
    path: str | Path,
    *,
    revision: str | None,
    device: str | torch.device,
    dtype: torch.dtype,
    local_files_only: bool,
) -> tuple[Network, PreTrainedTokenizerBase, Reader]:
    """Read a folder or a hub id that is in the cache; weights as safetensors or, never unpickled, as tensors of torch.

    Args:
        network, reader: classes of the model and of its feature extractor or image processor.
        path: the folder, or the hub id.
        revision: a commit of the hub's, None for the newest in the cache.
        device, dtype: where and in which precision the network runs.
        local_files_only: whether to leave the hub alone where something is not in the cache.

    Raises:
        MissingWeights: something is not there, or only in part.
    """
    settings = {"revision": revision, "local_files_only": local_files_only}
    fix = "give a folder with the whole checkpoint, or fetch it again"
    try:
        model, info = network.from_pretrained(
            path, dtype=dtype, output_loading_info=True, weights_only=True, **settings
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **settings)
        sources = reader.from_pretrained(path, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise MissingWeights(f"{path}: no whole {network.__name__} ({reason}); {fix}") from None
    # transformers would go on with random weights in their place; tables of positions it makes anew
    missing = [name for name in sorted(info["missing_keys"]) if model.state_dict()[name].is_floating_point()]
    if missing:
        raise MissingWeights(f"{path}: {len(missing)} weights are not there ({missing[0]}, ...); {fix}")
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # so it is made where its files are not there
        raise MissingWeights(f"{path}: its tokenizer has no words (tokenizer.json is not there); {fix}")
    return model.to(device), tokenizer, sources


class FromCheckpoint:
    """A matcher that is made of a checkpoint's network, tokenizer and what reads the sources."""

    network: ClassVar[type[PreTrainedModel]]
    reader: ClassVar[type[FeatureExtractionMixin | ImageProcessingMixin]]

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        local_files_only: bool = True,
    ) -> Self:
        """Read a folder, or a hub id at a revision that is in the cache.

        Args:
            path, revision: see above; None for the newest revision in the cache.
            device, dtype: where and in which precision both towers run.
            local_files_only: False lets transformers download what is not in the cache.

        Raises:
            MissingWeights: something is not there, or only in part.
        """
        settings = {"revision": revision, "device": device, "dtype": dtype, "local_files_only": local_files_only}
        return cls(*load_parts(cls.network, cls.reader, path, **settings))
