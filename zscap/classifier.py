"""Text classifiers that say whether a text has a wanted property, such as that what it describes can be heard.

Each gives `probability(texts) -> Tensor (n,)`, all that guidance asks of a classifier; several together do, too.
"""

import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from zscap.data import labelled_texts, normalised
from zscap.errors import InvalidData, InvalidOption, MissingWeights
from zscap.training import fit

Sentences = Sequence[str]
Table = pd.DataFrame | str | Path  # columns text and label, see `zscap.data.labelled_texts`


class Classifier(Protocol):
    """Probability that each text has the wanted property."""

    def probability(self, texts: list[str]) -> Tensor: ...  # (n,)


class TextEncoder(Protocol):
    def encode_text(self, texts: Sequence[str]) -> Tensor: ...


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
    ) -> "TextClassifier":
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
    ) -> "TextClassifier":
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
        (positive, negative), held = _training_and_validation(positive, negative, validation, seed)
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

        texts, labels = _labelled(positive, negative)
        texts, labels = [prefix + text for text in texts], labels.long()
        held_texts, held_labels = _labelled(*held)
        held_texts = [prefix + text for text in held_texts]

        def loss(step: int) -> Tensor:
            rows = torch.randint(len(texts), (batch_size,))
            logits = classifier._logits([texts[row] for row in rows])
            return F.cross_entropy(logits, labels[rows].to(device))

        recipe = (str(model), prefix, epochs, batch_size, learning_rate, seed, texts, held_texts, len(positive))
        unfinished = Path(folder) / f"unfinished-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"
        steps_per_epoch = max(1, len(texts) // batch_size)
        classifier.history = _fit_keeping_best(
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
        dropout: float = 0.5,
        smoothing: float = 0.1,
        noise: float = 0.7,
        steps: int = 1500,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> "EmbeddingClassifier":
        """Train the head and keep it as it was at the best validation AUC.

        Guidance asks about texts that have only begun and that may carry a prompt, so every sentence is learnt in
        lower case as it is and as `variants` random beginnings of it, with a prefix now and then.

        Args:
            positive, negative: sentences with and without the wanted property, or one table of both, as in
                `TextClassifier.train`; each class fills half of every batch.
            validation: the same, of other sentences; None puts aside a random seventh of each class.
            smoothing: makes the labels 1 - smoothing / 2 and smoothing / 2, which keeps the head from certainty about
                data whose labels contradict each other here and there.
            noise: length of the random vector added to each embedding of length 1, which keeps the head from leaning
                on what only this data set's wording shows; it then tells captions of other sets apart better.

        Returns:
            The classifier; its `history` has the columns `step`, `loss` and `validation_auc`.

        Raises:
            InvalidData: a class has no sentences, a sentence has both labels, or a table isn't as it should be.
        """
        (positive, negative), held_out = _training_and_validation(positive, negative, validation, seed)
        rng = random.Random(seed)
        parts = [
            [part for text in texts for part in _beginnings(text, variants, cls.PREFIXES, rng)]
            for texts in (positive, negative)
        ]
        distinct = {part: row for row, part in enumerate(dict.fromkeys([*parts[0], *parts[1]]))}
        embeddings = encoder.encode_text(list(distinct)).detach().float().cpu()
        classes = [embeddings[[distinct[part] for part in side]] for side in parts]
        held_texts, held_labels = _labelled(*held_out)
        held = encoder.encode_text([text.lower() for text in held_texts]).detach().float().cpu()

        torch.manual_seed(seed)
        head = _head(held.shape[1], hidden, dropout)

        def loss(step: int) -> Tensor:
            rows = [side[torch.randint(len(side), (batch_size // 2,))] for side in classes]
            labels = torch.cat([torch.ones(len(rows[0])), torch.zeros(len(rows[1]))]).lerp(torch.tensor(0.5), smoothing)
            inputs = torch.cat(rows)
            inputs = inputs + noise * torch.randn_like(inputs) / inputs.shape[1] ** 0.5
            return F.binary_cross_entropy_with_logits(head(inputs).squeeze(-1), labels)

        history = _fit_keeping_best(
            head,
            loss,
            lambda: roc_auc_score(held_labels, head(held).squeeze(-1)),
            steps=steps,
            every=max(1, steps // 20),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
        )
        classifier = cls(encoder, head)
        classifier.history = history
        return classifier

    def save(self, file: str | Path) -> None:
        """Write the head as half-precision safetensors; the encoder isn't part of it."""
        hidden, width = self.head[1].weight.shape
        config = {"width": width, "hidden": hidden, "probes": self._probes()}
        tensors = {name: tensor.half().contiguous() for name, tensor in self.head.state_dict().items()}
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file, metadata={"config": json.dumps(config)})
        Path(file).chmod(0o644)  # safetensors writes for the owner alone

    @classmethod
    def load(
        cls, file: str | Path, encoder: TextEncoder, *, device: str = "cpu", dtype: torch.dtype = torch.float64
    ) -> "EmbeddingClassifier":
        """Load what `save` wrote, for the encoder that it was trained on.

        Args:
            dtype: of the head; double precision, so that a text's probability doesn't depend on its company.

        Raises:
            MissingWeights: there is no such file, or only part of it.
            InvalidData: the head belongs to another encoder.
        """
        if not Path(file).is_file():
            raise MissingWeights(f"no classifier at {file}: train it with notebooks/02_train_classifier.ipynb")
        try:
            with safe_open(file, "pt") as weights:
                config = json.loads(weights.metadata()["config"])
                tensors = {name: weights.get_tensor(name).float() for name in weights.keys()}  # noqa: SIM118
            head = _head(config["width"], config["hidden"])
            head.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise MissingWeights(f"{file} holds no embedding classifier ({reason}): copy or train it again") from error
        classifier = cls(encoder, head.to(device, dtype))
        try:
            apart = max(abs(a - b) for a, b in zip(classifier._probes(), config["probes"], strict=True))
        except RuntimeError:  # embeddings of another width
            apart = float("inf")
        if apart > 0.1:
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
        if not len(texts):
            return torch.empty(0)
        embeddings = self.encoder.encode_text(list(texts))
        return self.head(embeddings.to(self.head[1].weight)).squeeze(-1)

    @torch.inference_mode()
    def _probes(self) -> list[float]:
        return self._logits(self.PROBES).tolist()


class WeightedClassifiers:
    """Several classifiers as one, each with a weight; a negative weight wants the opposite of its property.

    The probability is the mean of P_i, or of 1 - P_i where w_i < 0, weighted by |w_i|. Up to a constant, which the
    target's softmax cancels, guidance by it adds classifier_scale * sum_i w_i P_i / sum_i |w_i| to the scores.
    Unlike that sum it stays within [0, 1], which is what whoever asks a classifier relies on.

    Args:
        weighted: pairs of a classifier and its weight; only the weights' ratios count, `classifier_scale` has the rest.

    Raises:
        InvalidOption: no classifier, a weight that is not finite, or none that differs from 0.

    >>> zscap.WeightedClassifiers([(audible, 1), (person, -0.5)])  # doctest: +SKIP
    """

    def __init__(self, weighted: Sequence[tuple[Classifier, float]]):
        weights = [weight for _, weight in weighted]
        if not weights or not any(weights) or not all(map(math.isfinite, weights)):
            raise InvalidOption(
                f"weights {weights}: must be finite numbers, one of them not 0; give (classifier, weight)"
            )
        self.weighted = [(classifier, float(weight)) for classifier, weight in weighted if weight]

    def probability(self, texts: Sentences) -> Tensor:
        """Weighted mean of how well each text does by each classifier.

        Returns:
            Tensor, shape = (n,), values in [0, 1], on the first classifier's device.
        """
        total = sum(abs(weight) for _, weight in self.weighted)
        parts = [(classifier.probability(texts), weight) for classifier, weight in self.weighted]
        device = parts[0][0].device
        mean = sum(abs(weight) / total * (p if weight > 0 else 1 - p).to(device) for p, weight in parts)
        return mean.clamp(0, 1)  # the shares' sum may round to a little more than 1


def _head(width: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """One hidden layer; it brings rows of unit norm to unit variance first, without which training crawls."""
    return nn.Sequential(
        nn.LayerNorm(width, elementwise_affine=False),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


def _training_and_validation(
    positive: Sentences | Table,
    negative: Sentences | None,
    validation: tuple[Sentences, Sentences] | Table | None,
    seed: int,
) -> tuple[tuple[Sentences, Sentences], tuple[Sentences, Sentences]]:
    """Sentences with and without the property to train on, and others to validate on, checked."""
    training = _classes(positive, negative)
    if validation is None:
        if (fewest := min(map(len, training))) < 2:
            raise InvalidData(f"{fewest} sentence of a class can't serve training and validation both: give more")
        parts = [train_test_split(list(texts), test_size=1 / 7, random_state=seed) for texts in training]
        return tuple(kept for kept, _ in parts), tuple(held for _, held in parts)
    two = isinstance(validation, tuple | list) and len(validation) == 2
    return training, _classes(*(validation if two else (validation, None)))


def _classes(positive: Sentences | Table, negative: Sentences | None) -> tuple[Sentences, Sentences]:
    """Sentences with and without the property, of two lists or of one table.

    Raises:
        InvalidData: see `TextClassifier.train`.
    """
    if negative is None:
        if not isinstance(positive, Table):
            raise InvalidData("one list of sentences: give those without the property as well, or a table of both")
        table = labelled_texts(positive)
        positive, negative = (table.text[table.label == label].tolist() for label in (True, False))
    if not len(positive) or not len(negative):
        raise InvalidData(f"{len(positive)} positive and {len(negative)} negative sentences: both classes need some")
    if isinstance(positive, str) or isinstance(negative, str):
        raise InvalidData(
            f"a class is the one text {positive if isinstance(positive, str) else negative!r}: give a list"
        )
    for text in (*positive, *negative):
        if not isinstance(text, str) or not text.strip():
            raise InvalidData(f"{text!r} is among the sentences: leave out what is empty or no text")
    both = {normalised(text) for text in positive} & {normalised(text) for text in negative}
    if both:
        raise InvalidData(f"{len(both)} sentences are in both classes, such as {min(both)!r}: keep each in one")
    return positive, negative


def _labelled(positive: Sentences, negative: Sentences) -> tuple[list[str], Tensor]:
    """Texts of both classes and their labels, 1.0 and 0.0."""
    return [*positive, *negative], torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])


def _beginnings(text: str, count: int, prefixes: Sequence[str], rng: random.Random) -> list[str]:
    """The text itself and `count` beginnings of it, in lower case, some with a prefix."""
    words = text.lower().split()
    lengths = [len(words) if rng.random() < 0.4 else rng.randint(1, len(words)) for _ in range(count)]
    return [text.lower(), *(rng.choice(prefixes) + " ".join(words[:length]) for length in lengths)]


def _fit_keeping_best(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    validation_auc: Callable[[], float],
    *,
    folder: Path | None = None,
    **options,
) -> pd.DataFrame:
    """`fit`, then go back to the weights of the highest validation AUC; in `folder` a run that was cut off goes on."""
    file = folder / "best.pt" if folder else None
    best = torch.load(file, weights_only=True) if file and file.exists() else {"auc": -1.0}

    def evaluate() -> dict[str, float]:
        nonlocal best
        auc = float(validation_auc())
        if auc >= best["auc"]:  # of equals the later, which has learnt longer
            best = {"auc": auc, "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()}}
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                torch.save(best, f"{file}.part")
                os.replace(f"{file}.part", file)
        return {"validation_auc": auc}

    checkpoint = folder / "last.pt" if folder else None
    history = fit(model, loss, evaluate=evaluate, checkpoint=checkpoint, **options)
    model.load_state_dict(best["weights"])
    return history
