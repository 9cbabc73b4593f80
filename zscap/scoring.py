"""Texts of candidate continuations: each distinct one is embedded once and classified once, or never if it cannot win.

What each saving rests on: a text's embedding and its probability depend on neither source nor iteration, so they are
kept from clip to clip; within one token, scores are looked up by token id; and a classifier that adds at most
`classifier_scale` need not be asked about a text that lies further behind.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .language_models.causal import LanguageModel
from .options import DecodingOptions
from .roles import Classifier, Matcher

REMEMBERED = 20_000  # texts: their embeddings take 80 MB at d = 1024
# A candidate of a smaller share of the target changes nothing in float32, which resolves 6e-8, nor in a caption.
NEGLIGIBLE = 1e-12


class Remembered:
    """A function of texts that is asked about each distinct text once, while the text is among the last used.

    Args:
        function: n texts to a Tensor of n rows, each of which depends on its own text alone.
        limit: texts that are kept between calls.
    """

    def __init__(self, function: Callable[[list[str]], Tensor], limit: int = REMEMBERED):
        self.function = function
        self.limit = limit
        self.asked = self.computed = 0  # texts, since the beginning
        self._rows: dict[str, Tensor] = {}  # the last used come last

    def __call__(self, texts: list[str]) -> Tensor:
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if new:
            # Clones: a view would keep the rows of all these texts for as long as one of them is kept.
            self._rows.update((text, row.clone()) for text, row in zip(new, self.function(new), strict=True))
        self.asked += len(texts)
        self.computed += len(new)
        for text in texts:
            self._rows[text] = self._rows.pop(text)
        rows = torch.stack([self._rows[text] for text in texts])
        for text in list(self._rows)[: max(0, len(self._rows) - self.limit)]:
            del self._rows[text]
        return rows


class Scorer:
    """Scores continuations `text + piece`: how well each fits its source, and the classifier's probability.

    One scorer serves all batches and calls of a captioner, since texts return.

    Args:
        language_model: gives the tokens' texts.
        matcher, classifier: either may be None.
    """

    def __init__(self, language_model: LanguageModel, matcher: Matcher | None, classifier: Classifier | None):
        self.language_model = language_model
        self.embeddings = None if matcher is None else Remembered(matcher.encode_text)
        self.probabilities = None if classifier is None else Remembered(classifier.probability)
        self._token_embeddings: Tensor | None = None  # of tokens' own texts, (vocabulary, d), NaN where not yet known

    def begin_token(self, texts: list[str], sources: Tensor | None, options: DecodingOptions) -> None:
        """Sets the texts to be continued, one per row.

        sources : Tensor, shape = (rows, d), embedding of what each text is about; None without a matcher
        """
        self.texts = texts
        self.strip = not options.prompt_in_text
        self.sources = sources
        self.classifies = self.probabilities is not None and options.classifier_scale > 0
        self.reach = options.reach(NEGLIGIBLE)
        shape, device = (len(texts), self.language_model.vocabulary_size), self.language_model.device
        self.matching = torch.full(shape, torch.nan, device=device)
        self.probability = torch.full(shape, torch.nan, device=device)

    @property
    def has_guides(self) -> bool:
        return self.embeddings is not None or self.classifies

    def fit(self, texts: list[str], sources: Tensor) -> Tensor:
        """Cosine of each text, (n,), with its source, (n, d), or with the one source of all, (d,)."""
        # Sums of products rather than a matrix product, which rounds with the number of rows.
        return (self.embeddings(texts).to(sources) * sources).sum(-1)

    def __call__(self, candidates: Tensor, possible: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Cosines with the row's source and probabilities of the wanted property, each of shape (rows, k).

        Args:
            candidates: Tensor, shape = (rows, k), token ids.
            possible: bool Tensor, shape = (rows, k), which of them to score.

        Returns:
            NaN stands for what is not known: where `possible` is False, and for the probability also where the text
            fits so badly that its share of the target is under `NEGLIGIBLE` whatever the classifier says.
        """
        matching = probability = None
        if self.embeddings is not None:
            match = lambda rows, texts: self.fit(texts, self.sources[rows])  # noqa: E731
            matching = self._looked_up(self.matching, candidates, possible, match)
            best = matching.where(possible, -torch.inf).amax(-1, keepdim=True)
            possible = possible & (matching >= best - self.reach)
        if self.classifies:
            classify = lambda _, texts: self.probabilities(texts)  # noqa: E731
            probability = self._looked_up(self.probability, candidates, possible, classify)
            probability = probability.where(possible, torch.nan)
        return matching, probability

    def preview(self, tokens: Tensor) -> Tensor:
        """Cosine of each token's own text with the row's source, (rows, k), of token ids, (rows, k)."""
        if self._token_embeddings is None:
            shape = self.language_model.vocabulary_size, self.sources.shape[1]
            self._token_embeddings = torch.full(shape, torch.nan, device=tokens.device)
        new = tokens[self._token_embeddings[tokens, 0].isnan()].unique()
        if len(new):
            pieces = [self.language_model.pieces[token] for token in new.tolist()]
            texts = [piece.strip() or piece for piece in pieces]
            self._token_embeddings[new] = self.embeddings.function(texts).to(self._token_embeddings)
        return (self._token_embeddings[tokens] * self.sources[:, None]).sum(-1)

    def _looked_up(self, table: Tensor, candidates: Tensor, wanted: Tensor, function) -> Tensor:
        """Values of the candidates, (rows, k), from a table (rows, vocabulary) in which those wanted are filled in."""
        rows, places = torch.nonzero(wanted & table.gather(1, candidates).isnan(), as_tuple=True)
        if len(rows):
            tokens = candidates[rows, places]
            texts = [self._continued(*pair) for pair in zip(rows.tolist(), tokens.tolist(), strict=True)]
            table[rows, tokens] = function(rows, texts).to(table)
        return table.gather(1, candidates)

    def _continued(self, row: int, token: int) -> str:
        text = self.texts[row] + self.language_model.pieces[token]
        return text.lstrip() if self.strip else text
