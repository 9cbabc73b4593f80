"""Any sequence-classification model of transformers as a classifier."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import InvalidData, InvalidOption, MissingWeights
from .training import Sentences, Table, fit_keeping_best, labelled, training_and_validation


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
        self.model, self.tokenizer, self.label = model.eval(), tokenizer, label
        self.history: pd.DataFrame | None = None  # of the training, see `train`

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
        label: str = "wanted",
    ) -> TextClassifier:
        """Load what `save` wrote, or any folder with a sequence-classification model as safetensors.

        Raises:
            MissingWeights: the folder holds no whole classifier.
            InvalidData: the classifier's head was never trained.
            InvalidOption: see the class.
        """
        if not (Path(folder) / "config.json").is_file():
            raise MissingWeights(f"no classifier in {folder}: train it with notebooks/02_train_classifier.ipynb")
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise MissingWeights(f"{folder} holds no whole classifier ({reason}): copy or train it again") from error
        if info["missing_keys"]:  # transformers would go on with random weights in their place
            name = min(info["missing_keys"])
            raise InvalidData(f"{folder} lacks the weight {name}: give the folder of a trained classifier")
        return cls(model.to(device), tokenizer, label)

    def save(self, folder: str | Path) -> None:
        """Write model and tokenizer into `folder` with `save_pretrained`."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def train(
        cls,
        positive: Sentences | Table,
        negative: Sentences | None = None,
        *,
        validation: tuple[Sentences, Sentences] | Table | None = None,
        model: str | Path,
        folder: str | Path,
        prefix: str = "Audio of a ",
        epochs: int = 10,
        batch_size: int = 256,
        learning_rate: float = 3e-4,
        seed: int = 0,
        device: str = "cpu",
        progress: bool = False,
    ) -> TextClassifier:
        """Fine-tune `model` and keep it as it was at the best validation AUC (arXiv 2309.03884, section 3).

        The released script waits for a plateau before it lowers the rate; here the rate warms up and falls along a
        cosine (`zscap.training.fit`). A run that was cut off goes on from its last epoch when called again.

        Args:
            positive, negative: sentences with and without the wanted property; or one table of both (a DataFrame or a
                csv file with the columns `text` and `label`, 1 or 0) and nothing.
            validation: the same, of other sentences; None puts aside a random seventh of each class, which tells less
                where sentences resemble each other.
            model: hub id or folder of any pretrained network that transformers can put a classification head on
                (BERT, RoBERTa, DeBERTa, GPT-2, ...); a head that it has is replaced.
            folder: receives the classifier, as `save` writes it.
            prefix: stands before every sentence while training. `probability` adds none: the decoding loop's texts
                begin with the prompt already.
            learning_rate: the peak of the cosine.

        Returns:
            The classifier; its `history` has the columns `step`, `loss` and `validation_auc`, a row per epoch.

        Raises:
            MissingWeights: `model` is neither here nor within reach on the hub.
            InvalidData: a class has no sentences, a sentence has both labels, or a table isn't as it should be.
        """
        (positive, negative), held = training_and_validation(positive, negative, validation, seed)
        torch.manual_seed(seed)  # the new head is random
        try:
            tokenizer = AutoTokenizer.from_pretrained(model)
            network = AutoModelForSequenceClassification.from_pretrained(
                model,
                id2label={0: "other", 1: "wanted"},
                label2id={"other": 0, "wanted": 1},
                dtype=torch.float32,  # a checkpoint in half precision would be trained in it
                ignore_mismatched_sizes=True,  # a head for other labels
            )
        except OSError as error:
            raise MissingWeights(
                f"{model} is neither here nor within reach on the hub: connect, or copy it here"
            ) from error
        if tokenizer.pad_token is None:  # as in GPT-2; padding comes last and is masked, so that any token will do
            tokenizer.pad_token = tokenizer.eos_token
        network.config.pad_token_id = tokenizer.pad_token_id
        classifier = cls(network.to(device), tokenizer)

        texts, labels = labelled(positive, negative)
        texts, labels = [prefix + text for text in texts], labels.long()
        held_texts, held_labels = labelled(*held)
        held_texts = [prefix + text for text in held_texts]

        def loss(step: int) -> Tensor:
            rows = torch.randint(len(texts), (batch_size,))
            logits = classifier._logits([texts[row] for row in rows])
            return F.cross_entropy(logits, labels[rows].to(device))

        recipe = (str(model), prefix, epochs, batch_size, learning_rate, seed, texts, held_texts, len(positive))
        unfinished = Path(folder) / f"unfinished-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"
        steps_per_epoch = max(1, len(texts) // batch_size)
        classifier.history = fit_keeping_best(
            network,
            loss,
            lambda: roc_auc_score(held_labels, classifier.probability(held_texts)),
            folder=unfinished,
            steps=epochs * steps_per_epoch,
            every=steps_per_epoch,
            learning_rate=learning_rate,
            seed=seed,
            progress=progress,
        )
        classifier.save(folder)
        shutil.rmtree(unfinished)
        return classifier

    @torch.inference_mode()
    def probability(self, texts: Sentences, *, batch_size: int = 64) -> Tensor:
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
            result[rows] = self._logits([texts[i] for i in rows]).softmax(dim=-1)[:, wanted].float().cpu()
        return result

    def _logits(self, texts: Sentences) -> Tensor:
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
