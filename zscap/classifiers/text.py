"""Any sequence-classification model of transformers as a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InvalidOption
from ..files.packed import writing
from ..files.pretrained import read_checkpoint

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TextClassifier:
    """Any transformers sequence-classification model as a classifier.

    Args:
        model, tokenizer: as `from_pretrained` gives them.
        label: the name in `model.config.label2id` of the wanted property.

    Raises:
        InvalidOption: the model doesn't know the label, or knows no other.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, label: str = "wanted"):
        labels = model.config.label2id
        if label not in labels or len(labels) < 2:
            raise InvalidOption(f"label {label!r} must be one of two or more of the model, which has {sorted(labels)}")
        if tokenizer.pad_token is None:  # as in GPT-2; padding comes last and is masked, so that any token will do
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
        self.model, self.tokenizer, self.label = model.eval(), tokenizer, label
        self.history: pd.DataFrame | None = None  # of its training, where there was one

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", *, dtype: torch.dtype = torch.float32, label: str = "wanted"
    ) -> TextClassifier:
        """Load what `save` wrote, or any folder with a sequence-classification model.

        Raises:
            MissingWeights: the folder holds no whole classifier, or one whose head was never trained.
            InvalidOption: see the class.
        """
        classes = "AutoModelForSequenceClassification", "AutoTokenizer"
        return cls(*read_checkpoint(folder, *classes, device=device, dtype=dtype), label)

    def save(self, folder: str | Path) -> None:
        """Write model and tokenizer into `folder` with `save_pretrained`.

        Raises:
            UnwritableOutput: the folder can't be written.
        """
        with writing(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)  # transformers goes on without saving if that is a file
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def probability(self, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Probability that each text has the wanted property; a text's value doesn't depend on the others.

        Returns:
            Tensor, shape = (n,), on the CPU.
        """
        # texts of one length share a batch, so that little is padded
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        wanted = self.model.config.label2id[self.label]
        result = torch.empty(len(texts))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            result[rows] = self.logits([texts[i] for i in rows]).softmax(dim=-1)[:, wanted].float().cpu()
        return result

    def logits(self, texts: Sequence[str]) -> Tensor:
        """Logits of one batch, shape = (n, labels)."""
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_tokens(), return_tensors="pt"
        )
        return self.model(**batch.to(self.model.device)).logits

    def _max_tokens(self) -> int:
        limit = getattr(self.model.config, "max_position_embeddings", 512)
        positions = getattr(getattr(self.model.base_model, "embeddings", None), "position_embeddings", None)
        if getattr(positions, "padding_idx", None) is not None:  # RoBERTa counts positions from the one after padding
            limit -= positions.padding_idx + 1
        return min(self.tokenizer.model_max_length, limit)
