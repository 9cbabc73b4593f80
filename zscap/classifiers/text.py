"""Any sequence-classification model of transformers as a classifier."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InvalidOption
from ..files.packed import reading, writing
from ..files.pretrained import fetched, read_checkpoint

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .texts import Sentences, Table


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
        self.history: pd.DataFrame | None = None  # of the training, see `train`

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
    ) -> TextClassifier:
        """Fine-tune `model` and keep it as it was at the best validation AUC (arXiv 2309.03884, section 3).

        The released script waits for a plateau before it lowers the rate; here the rate warms up and falls along a
        cosine (`zscap.classifiers.training.fit`). A run that was cut off goes on from its last epoch when called again.

        Args:
            positive, negative: sentences with and without the wanted property, or one table of both, as of
                `zscap.classifiers.texts.labelled_texts`.
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
            InvalidData: a class has no sentences, a sentence has both labels, a table isn't as it should be, or the
                folder holds an unfinished run of other settings.
            InvalidOption: an impossible value, or a learning rate that leads to no finite numbers.
            UnwritableOutput: the folder can't be written.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        # Late, as is all that training alone needs.
        from .texts import labelled, scikit_learn, training_and_validation
        from .training import check_between, fit

        check_between(1, epochs=epochs, batch_size=batch_size)
        classes, held = training_and_validation(positive, negative, validation, seed)
        auc = scikit_learn().metrics.roc_auc_score
        torch.manual_seed(seed)  # the new head is random
        with reading("pretrained network", model, "connect, or copy it here"):
            pretrained = fetched(model)
            tokenizer = AutoTokenizer.from_pretrained(pretrained, trust_remote_code=False)
            network = AutoModelForSequenceClassification.from_pretrained(
                pretrained,
                id2label={0: "other", 1: "wanted"},
                label2id={"other": 0, "wanted": 1},
                dtype=torch.float32,  # a checkpoint in half precision would be trained in it
                ignore_mismatched_sizes=True,  # a head for other labels
                trust_remote_code=False,
            )
        classifier = cls(network.to(device), tokenizer)

        texts, labels = labelled(*classes)
        held_texts, held_labels = labelled(*held)
        texts, held_texts = ([prefix + text for text in each] for each in (texts, held_texts))

        def loss(step: int) -> Tensor:
            rows = torch.randint(len(texts), (batch_size,))
            logits = classifier._logits([texts[row] for row in rows])
            return F.cross_entropy(logits, torch.tensor(labels)[rows].to(device))

        sentences = hashlib.sha256(repr((texts, held_texts, len(classes[0]))).encode()).hexdigest()[:12]
        with writing(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)  # or the first epoch would be in vain
        unfinished = Path(folder) / "unfinished.pt"
        steps_per_epoch = max(1, len(texts) // batch_size)
        classifier.history = fit(
            network,
            loss,
            checkpoint=unfinished,
            recipe={"model": model, "batch_size": batch_size, "sentences": sentences},
            evaluate=lambda: {"validation_auc": auc(held_labels, classifier.probability(held_texts))},
            keep_best="validation_auc",
            steps=epochs * steps_per_epoch,
            every=steps_per_epoch,
            learning_rate=learning_rate,
            seed=seed,
        )
        classifier.save(folder)
        unfinished.unlink()
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
