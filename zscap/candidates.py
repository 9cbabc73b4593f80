"""Texts of candidate continuations, each distinct one encoded and classified once."""

from __future__ import annotations

from itertools import islice
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
        # Continuations that have been scored, each distinct text at one place of the tables.
        self.place_of: dict[str, int] = {}
        self.matching = torch.empty(0, 0 if sources is None else len(sources), device=language_model.device)
        self.probability = torch.empty(0, device=language_model.device)

    @property
    def has_guides(self) -> bool:
        return self.matcher is not None or self.classifier is not None

    def begin_token(self, tokens: Tensor, generated: int, owners: list[int]) -> None:
        """Sets the texts to be continued, one per row, and the sources they are about.

        tokens : Tensor, shape = (rows, length), the last `generated` of them after the prompt
        owners : source of each row
        """
        start = 0 if self.prompt_in_text else tokens.shape[1] - generated
        self.texts = [self.language_model.text(row) for row in tokens[:, start:].tolist()]
        self.owners = torch.tensor(owners, device=tokens.device)
        vocabulary = len(self.language_model.pieces)
        self.places = {text: torch.full((vocabulary,), -1, device=tokens.device) for text in self.texts}

    def __call__(self, candidates: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Cosines with the row's source and probabilities of the wanted property, each of shape (rows, k).

        candidates : Tensor, shape = (rows, k), token ids
        """
        self._learn(candidates)
        places = torch.stack([self.places[text][ids] for text, ids in zip(self.texts, candidates, strict=True)])
        matching = None if self.matcher is None else self.matching[places, self.owners[:, None]]
        return matching, None if self.classifier is None else self.probability[places]

    def _learn(self, candidates: Tensor) -> None:
        """Encodes and classifies the continuations that have not been asked for before."""
        known = len(self.place_of)
        for text, ids in zip(self.texts, candidates, strict=True):
            new = ids[self.places[text][ids] < 0]
            continued = [text + self.language_model.pieces[token] for token in new.tolist()]
            if not self.prompt_in_text:
                continued = [text.lstrip() for text in continued]
            places = [self.place_of.setdefault(text, len(self.place_of)) for text in continued]
            self.places[text][new] = torch.tensor(places, dtype=torch.long, device=new.device)
        texts = list(islice(self.place_of, known, None))
        if texts and self.matcher is not None:
            features = self.matcher.encode_text(texts).to(self.sources)
            # Source by source: a product with all of them at once would round with the batch.
            matching = torch.stack([features @ source for source in self.sources], dim=1)
            self.matching = torch.cat([self.matching, matching])
        if texts and self.classifier is not None:
            probability = self.classifier.probability(texts).to(self.probability.device)
            self.probability = torch.cat([self.probability, probability])
