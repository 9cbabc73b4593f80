"""Classifiers trained on sentences with and without a property (notebook 02)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zscap.classifiers.embedding import EmbeddingClassifier, head_of
from zscap.classifiers.text import TextClassifier
from zscap.files.packed import reading, writing
from zscap.roles import TextEncoder
from zscap.scoring import Remembered

from .hub import fetched
from .texts import Sentences, Table, labelled, scikit_learn, training_and_validation
from .training import check_between, fit

PREFIXES = ("", "", "", "audio of ", "a photo of ")  # alike on both classes, so that they tell nothing


def train_embedding_classifier(
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
    """Train a head on frozen embeddings and keep it as it was at the best validation AUC.

    Guidance asks about texts that have only begun and that may carry a prompt, so every sentence is learnt in
    lower case as it is and as `variants` random beginnings of it, with a prefix now and then.

    Args:
        positive, negative: sentences with and without the wanted property, or one table of both, as in
            `train_text_classifier`; each class fills half of every batch.
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
        >>> present = train_embedding_classifier(table[table.part == "train"], encoder=encoder, steps=60)
        >>> (present.probability(["rain falls", "rain falling"]) > 0.5).tolist()
        [True, False]
    """
    check_between(1, hidden=hidden, steps=steps)
    check_between(2, batch_size=batch_size)
    auc = scikit_learn().metrics.roc_auc_score
    classes, held_out = training_and_validation(positive, negative, validation, seed)
    rng = random.Random(seed)
    parts = [[part for text in texts for part in _beginnings(text, variants, PREFIXES, rng)] for texts in classes]
    distinct = {part: row for row, part in enumerate(dict.fromkeys([*parts[0], *parts[1]]))}
    embed = _remembering(encoder)
    embeddings = embed(list(distinct)).float().cpu()
    classes = [embeddings[[distinct[part] for part in side]] for side in parts]
    held_texts, held_labels = labelled(*held_out)
    held = embed([text.lower() for text in held_texts]).float().cpu()

    torch.manual_seed(seed)
    head = head_of(held.shape[1], hidden, dropout=0.5)

    def loss(step: int) -> Tensor:
        rows = [side[torch.randint(len(side), (batch_size // 2,))] for side in classes]
        # No label is certain: the data's contradict each other here and there.
        labels = torch.tensor([0.95, 0.05]).repeat_interleave(batch_size // 2)
        inputs = torch.cat(rows)
        inputs = inputs + noise * torch.randn_like(inputs) / inputs.shape[1] ** 0.5
        return F.binary_cross_entropy_with_logits(head(inputs).squeeze(-1), labels)

    classifier = EmbeddingClassifier(encoder, head)
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


@lru_cache(maxsize=2)
def _remembering(encoder: TextEncoder) -> Remembered:
    """An encoder's embeddings; classifiers of parts of the same sentences ask for the same ones."""
    return Remembered(encoder.encode_text)


def _beginnings(text: str, count: int, prefixes: Sequence[str], rng: random.Random) -> list[str]:
    """The text itself and `count` beginnings of it, in lower case, some with a prefix."""
    words = text.lower().split()
    lengths = [len(words) if rng.random() < 0.4 else rng.randint(1, len(words)) for _ in range(count)]
    return [text.lower(), *(rng.choice(prefixes) + " ".join(words[:length]) for length in lengths)]


def train_text_classifier(
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
    cosine (`studies.training.fit`). A run that was cut off goes on from its last epoch when called again.

    Args:
        positive, negative: sentences with and without the wanted property, or one table of both, as of
            `studies.texts.labelled_texts`.
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
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # late: they take seconds

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
    classifier = TextClassifier(network.to(device), tokenizer)

    texts, labels = labelled(*classes)
    held_texts, held_labels = labelled(*held)
    texts, held_texts = ([prefix + text for text in each] for each in (texts, held_texts))

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(texts), (batch_size,))
        logits = classifier.logits([texts[row] for row in rows])
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
