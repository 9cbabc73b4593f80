"""Texts of candidate continuations, each distinct one encoded and classified once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .language_model import LanguageModel
from .options import SteeringOptions


class Matcher(Protocol):
    """Embeds sources and texts into one space; rows of unit norm."""

    def encode_source(self, sources: list) -> Tensor: ...  # (n, d)

    def encode_text(self, texts: list[str]) -> Tensor: ...  # (n, d)


class Classifier(Protocol):
    """Probability that a text has the wanted property, such as audibility."""

    def probability(self, texts: list[str]) -> Tensor: ...  # (n,)


@dataclass
class _Continuations:
    """What is known of the continuations of one text: a slot for each token that was asked for."""

    slots: Tensor  # (vocabulary,) position of the token's text below, -1 if it has not been asked for
    features: Tensor  # (n, d) from the matcher
    probability: Tensor  # (n,) from the classifier


class Scorer:
    """Scores continuations `text + piece`: how well each fits its source, and the classifier's probability.

    Args:
        language_model: gives the tokens' texts.
        matcher, classifier: either may be None.
        sources: Tensor, shape = (n, d), embeddings of the sources; None without a matcher.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        matcher: Matcher | None,
        classifier: Classifier | None,
        sources: Tensor | None,
        options: SteeringOptions,
    ):
        self.language_model = language_model
        self.matcher = matcher
        self.classifier = classifier if options.classifier_scale > 0 else None
        self.sources = sources
        self.prompt_in_text = options.prompt_in_text
        self.known: dict[str, _Continuations] = {}

    @property
    def has_guides(self) -> bool:
        return self.matcher is not None or self.classifier is not None

    def begin_token(self, tokens: Tensor, generated: int, owners: list[int]) -> None:
        """Sets the texts to be continued, one per row, and the sources they are about; forgets all others.

        tokens : Tensor, shape = (rows, length), the last `generated` of them after the prompt
        owners : source of each row
        """
        start = 0 if self.prompt_in_text else tokens.shape[1] - generated
        self.texts = [self.language_model.text(row) for row in tokens[:, start:].tolist()]
        self.owners = owners
        self.known = {text: self.known[text] for text in self.texts if text in self.known}

    def __call__(self, candidates: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Cosines with the row's source and probabilities of the wanted property, each of shape (rows, k).

        candidates : Tensor, shape = (rows, k), token ids
        """
        for text in dict.fromkeys(self.texts):
            self._learn(text, torch.cat([ids for ids, own in zip(candidates, self.texts, strict=True) if own == text]))
        matching, probability = [], []
        for text, owner, ids in zip(self.texts, self.owners, candidates, strict=True):
            known = self.known[text]
            slots = known.slots[ids]
            if self.matcher is not None:
                matching.append(known.features[slots] @ self.sources[owner])
            if self.classifier is not None:
                probability.append(known.probability[slots])
        return torch.stack(matching) if matching else None, torch.stack(probability) if probability else None

    def _learn(self, text: str, ids: Tensor) -> None:
        """Encodes and classifies the continuations of `text` that have not been asked for before."""
        pieces, device = self.language_model.pieces, ids.device
        if text not in self.known:
            empty = torch.empty(0, device=device)
            self.known[text] = _Continuations(torch.full((len(pieces),), -1, device=device), empty, empty)
        known = self.known[text]
        new = ids[known.slots[ids] < 0].unique()
        if len(new) == 0:
            return
        known.slots[new] = torch.arange(len(new), device=device) + int(known.slots.max()) + 1
        texts = [text + pieces[token] for token in new.tolist()]
        if not self.prompt_in_text:
            texts = [text.lstrip() for text in texts]
        if self.matcher is not None:
            features = self.matcher.encode_text(texts).to(device, self.sources.dtype)
            known.features = torch.cat([known.features.reshape(-1, features.shape[1]), features])
        if self.classifier is not None:
            probability = self.classifier.probability(texts).to(device)
            known.probability = torch.cat([known.probability, probability])
