"""Text classifiers that say whether a text has a wanted property, such as that what it describes can be heard.

Both give `probability(texts) -> Tensor (n,)`, all that guidance asks of a classifier.
"""

import hashlib
import json
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
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from zscap.errors import InvalidData, InvalidOption, MissingWeights
from zscap.training import fit

Sentences = Sequence[str]


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
        positive: Sentences,
        negative: Sentences,
        *,
        validation: tuple[Sentences, Sentences],
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
            positive, negative: sentences with and without the wanted property.
            validation: the same two, of other sentences.
            model: hub id or folder of a pretrained encoder.
            folder: receives the classifier, as `save` writes it.
            prefix: stands before every sentence while training. `probability` adds none: the decoding loop's texts
                begin with the prompt already.
            learning_rate: the peak of the cosine.

        Returns:
            The classifier; its `history` has the columns `step`, `loss` and `validation_auc`, a row per epoch.

        Raises:
            MissingWeights: `model` is neither here nor within reach on the hub.
            InvalidData: a class has no sentences.
        """
        torch.manual_seed(seed)  # the new head is random
        try:
            tokenizer = AutoTokenizer.from_pretrained(model)
            network = AutoModelForSequenceClassification.from_pretrained(
                model, id2label={0: "other", 1: "wanted"}, label2id={"other": 0, "wanted": 1}
            )
        except OSError as error:
            raise MissingWeights(
                f"{model} is neither here nor within reach on the hub: connect, or copy it here"
            ) from error
        classifier = cls(network.to(device), tokenizer)

        texts, labels = _labelled(positive, negative)
        texts, labels = [prefix + text for text in texts], labels.long()
        held_texts, held_labels = _labelled(*validation)
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
        limit = min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", 512))
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        return self.model(**batch.to(self.model.device)).logits


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
        positive: Sentences,
        negative: Sentences,
        *,
        encoder: TextEncoder,
        validation: tuple[Sentences, Sentences],
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
            positive, negative: sentences with and without the wanted property; each class fills half of every batch.
            validation: the same two, of other sentences.
            smoothing: makes the labels 1 - smoothing / 2 and smoothing / 2, which keeps the head from certainty about
                data whose labels contradict each other here and there.
            noise: length of the random vector added to each embedding of length 1, which keeps the head from leaning
                on what only this data set's wording shows; it then tells captions of other sets apart better.

        Returns:
            The classifier; its `history` has the columns `step`, `loss` and `validation_auc`.

        Raises:
            InvalidData: a class of `validation` has no sentences.
        """
        rng = random.Random(seed)
        parts = [
            [part for text in texts for part in _beginnings(text, variants, cls.PREFIXES, rng)]
            for texts in (positive, negative)
        ]
        distinct = {part: row for row, part in enumerate(dict.fromkeys([*parts[0], *parts[1]]))}
        embeddings = encoder.encode_text(list(distinct)).detach().float().cpu()
        classes = [embeddings[[distinct[part] for part in side]] for side in parts]
        held_texts, held_labels = _labelled(*validation)
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


def _head(width: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """One hidden layer; it brings rows of unit norm to unit variance first, without which training crawls."""
    return nn.Sequential(
        nn.LayerNorm(width, elementwise_affine=False),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


def _labelled(positive: Sentences, negative: Sentences) -> tuple[list[str], Tensor]:
    """Texts of both classes and their labels, 1.0 and 0.0."""
    if not len(positive) or not len(negative):
        raise InvalidData(f"{len(positive)} positive and {len(negative)} negative sentences: both classes need some")
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
