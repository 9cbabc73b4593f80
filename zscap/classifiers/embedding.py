"""A classifier on frozen text embeddings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InvalidData
from ..files.packed import read_packed, write_packed, writing
from ..roles import TextEncoder

if TYPE_CHECKING:
    import pandas as pd

    from .texts import Sentences, Table


class EmbeddingClassifier:
    """A small network on frozen text embeddings.

    It can only know what the encoder knows, which is its strength: trained from scratch, a transformer learns the
    habits of one data set and fails on the next.

    Args:
        encoder: any object with `encode_text(texts) -> Tensor (n, d)`, such as a matcher.
        head: maps embeddings, shape = (n, d), to logits, shape = (n, 1).
    """

    PREFIXES = ("", "", "", "audio of ", "a photo of ")  # alike on both classes, so that they tell nothing
    PROBES = ("a dog barks", "a blue sky", "rain falls on a roof")  # tell whether a file belongs to an encoder

    def __init__(self, encoder: TextEncoder, head: nn.Sequential):
        self.encoder, self.head = encoder, head.eval().requires_grad_(False)
        self.history: pd.DataFrame | None = None  # of the training, see `train`

    @classmethod
    def train(
        cls,
        positive: Sentences | Table,
        negative: Sentences | None = None,
        *,
        encoder: TextEncoder,
        validation: tuple[Sentences, Sentences] | Table | None = None,
        variants: int = 6,
        hidden: int = 512,
        noise: float = 0.7,
        steps: int = 1500,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> EmbeddingClassifier:
        """Train the head and keep it as it was at the best validation AUC.

        Guidance asks about texts that have only begun and that may carry a prompt, so every sentence is learnt in
        lower case as it is and as `variants` random beginnings of it, with a prefix now and then.

        Args:
            positive, negative: sentences with and without the wanted property, or one table of both, as in
                `TextClassifier.train`; each class fills half of every batch.
            validation: the same, of other sentences; None puts aside a random seventh of each class.
            noise: length of the random vector added to each embedding of length 1, which keeps the head from leaning
                on what only this data set's wording shows; it then tells captions of other sets apart better.

        Returns:
            The classifier; its `history` has the columns `step`, `loss` and `validation_auc`.

        Raises:
            InvalidData: a class has no sentences, a sentence has both labels, or a table isn't as it should be.
            InvalidOption: an impossible value, or a learning rate that leads to no finite numbers.

        Examples:
            >>> import zscap
            >>> from studies.phrases import tense_sentences
            >>> table = tense_sentences(pairs=100)
            >>> encoder = zscap.load("embedded").matcher
            >>> present = zscap.EmbeddingClassifier.train(table[table.part == "train"], encoder=encoder, steps=60)
            >>> (present.probability(["rain falls", "rain falling"]) > 0.5).tolist()
            [True, False]
        """
        from .texts import labelled, scikit_learn, training_and_validation  # late, as all that training alone needs
        from .training import check_between, fit

        check_between(1, hidden=hidden, steps=steps)
        check_between(2, batch_size=batch_size)
        auc = scikit_learn().metrics.roc_auc_score
        classes, held_out = training_and_validation(positive, negative, validation, seed)
        rng = random.Random(seed)
        parts = [
            [part for text in texts for part in _beginnings(text, variants, cls.PREFIXES, rng)] for texts in classes
        ]
        distinct = {part: row for row, part in enumerate(dict.fromkeys([*parts[0], *parts[1]]))}
        embeddings = encoder.encode_text(list(distinct)).detach().float().cpu()
        classes = [embeddings[[distinct[part] for part in side]] for side in parts]
        held_texts, held_labels = labelled(*held_out)
        held = encoder.encode_text([text.lower() for text in held_texts]).detach().float().cpu()

        torch.manual_seed(seed)
        head = _head(held.shape[1], hidden, dropout=0.5)

        def loss(step: int) -> Tensor:
            rows = [side[torch.randint(len(side), (batch_size // 2,))] for side in classes]
            # No label is certain: the data's contradict each other here and there.
            labels = torch.tensor([0.95, 0.05]).repeat_interleave(batch_size // 2)
            inputs = torch.cat(rows)
            inputs = inputs + noise * torch.randn_like(inputs) / inputs.shape[1] ** 0.5
            return F.binary_cross_entropy_with_logits(head(inputs).squeeze(-1), labels)

        classifier = cls(encoder, head)
        classifier.history = fit(
            head.requires_grad_(True),
            loss,
            evaluate=lambda: {"validation_auc": auc(held_labels, head(held).squeeze(-1))},
            keep_best="validation_auc",
            steps=steps,
            every=max(1, steps // 20),
            learning_rate=learning_rate,
            weight_decay=0.05,
            seed=seed,
        )
        head.requires_grad_(False)
        return classifier

    def save(self, file: str | Path) -> None:
        """Write the head as half-precision safetensors; the encoder isn't part of it.

        Raises:
            UnwritableOutput: the file can't be written.
        """
        hidden, width = self.head[1].weight.shape
        config = {"width": width, "hidden": hidden, "probes": self._probes()}
        with writing(file):
            write_packed(file, self.head, config)

    @classmethod
    def load(
        cls, file: str | Path, encoder: TextEncoder, *, device: str = "cpu", dtype: torch.dtype = torch.float64
    ) -> EmbeddingClassifier:
        """Load what `save` wrote, for the encoder that it was trained on.

        Args:
            dtype: of the head; double precision, so that a text's probability doesn't depend on its company.

        Raises:
            MissingWeights: there is no such file, or only part of it.
            InvalidData: the head belongs to another encoder.
        """
        head, config = read_packed(
            file, lambda width, hidden, probes: _head(width, hidden), "notebooks/02_train_classifier.ipynb"
        )
        classifier = cls(encoder, head.to(device, dtype))
        try:
            pairs = zip(classifier._probes(), config["probes"], strict=True)
            same = all(abs(here - there) < 0.1 for here, there in pairs)
        except (RuntimeError, TypeError, ValueError, OverflowError):  # embeddings of another width, no numbers
            same = False
        if not same:
            raise InvalidData(f"{file} was trained on another text encoder: train it again on this one")
        return classifier

    @torch.inference_mode()
    def probability(self, texts: Sentences) -> Tensor:
        """Probability that each text has the wanted property.

        Returns:
            Tensor, shape = (n,), on the head's device.
        """
        return self._logits(texts).sigmoid().float()

    def _logits(self, texts: Sentences) -> Tensor:
        embeddings = self.encoder.encode_text(list(texts))
        return self.head(embeddings.to(self.head[1].weight)).squeeze(-1)

    @torch.inference_mode()
    def _probes(self) -> list[float]:
        return self._logits(self.PROBES).tolist()


def _head(width: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """One hidden layer; it brings rows of unit norm to unit variance first, without which training crawls."""
    return nn.Sequential(
        nn.LayerNorm(width, elementwise_affine=False),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


def _beginnings(text: str, count: int, prefixes: Sequence[str], rng: random.Random) -> list[str]:
    """The text itself and `count` beginnings of it, in lower case, some with a prefix."""
    words = text.lower().split()
    lengths = [len(words) if rng.random() < 0.4 else rng.randint(1, len(words)) for _ in range(count)]
    return [text.lower(), *(rng.choice(prefixes) + " ".join(words[:length]) for length in lengths)]
