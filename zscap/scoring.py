"""Texts of candidate continuations: each distinct one is embedded once and classified once, or never if it cannot win.

What each saving rests on: a text's embedding and its probability depend on neither source nor iteration, so they are
kept from clip to clip; within one token, scores are looked up by token id; and a classifier that adds at most
`classifier_scale` need not be asked about a text that lies further behind (docs/METHODS.md, section 5).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .language_model import LanguageModel
from .options import DecodingOptions
from .roles import Classifier, Matcher, finite

REMEMBERED = 20_000  # texts: their embeddings take 80 MB at d = 1024


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
    """How well texts fit a source, and the classifier's probabilities of them.

    One scorer serves all batches and calls of a captioner, since texts return.

    Args:
        language_model: gives the tokens' texts.
        matcher, classifier: either may be None.
    """

    def __init__(self, language_model: LanguageModel, matcher: Matcher | None, classifier: Classifier | None):
        self.language_model = language_model
        embed = lambda texts: finite(matcher.encode_text(texts), "matcher", repr(texts[0]))  # noqa: E731
        classify = lambda texts: finite(classifier.probability(texts), "classifier", repr(texts[0]))  # noqa: E731
        self.embeddings = None if matcher is None else Remembered(embed)
        self.probabilities = None if classifier is None else Remembered(classify)
        self._rows: Tensor | None = None  # of each token in the next, (vocabulary,), -1 where not yet known
        self._token_embeddings: Tensor | None = None  # of tokens' own texts, (known, d)

    def fit(self, texts: list[str], sources: Tensor) -> Tensor:
        """Cosine of each text, (n,), with its source, (n, d), or with the one source of all, (d,)."""
        # Sums of products rather than a matrix product, which rounds with the number of rows.
        return (self.embeddings(texts).to(sources) * sources).sum(-1)

    def token_embeddings(self, tokens: Tensor) -> Tensor:
        """Embeddings of tokens' own texts, shape = (rows, k, d), of token ids, shape = (rows, k)."""
        new = tokens.unique()
        if self._rows is not None:
            new = new[self._rows[new] < 0]
        if len(new):
            pieces = [self.language_model.pieces[token] for token in new.tolist()]
            embeddings = self.embeddings.function([piece.strip() or piece for piece in pieces]).to(tokens.device)
            if self._rows is None:
                self._rows = tokens.new_full((self.language_model.vocabulary_size,), -1)
                self._token_embeddings = embeddings[:0]
            known = len(self._token_embeddings)
            self._rows[new] = torch.arange(known, known + len(new), device=tokens.device)
            self._token_embeddings = torch.cat([self._token_embeddings, embeddings])
        return self._token_embeddings[self._rows[tokens]]


class CandidateScorer:
    """Scores of one token's candidates, the texts `text + piece`; one row per text that is continued.

    Args:
        scorer: remembers texts from token to token.
        texts: what is continued.
        sources: Tensor, shape = (rows, d), embedding of what each text is about; None without a matcher.
        options: say which guides count, and whether texts carry the prompt.
    """

    def __init__(self, scorer: Scorer, texts: list[str], sources: Tensor | None, options: DecodingOptions):
        self.scorer = scorer
        self.texts = texts
        self.sources = sources
        self.matches = scorer.embeddings is not None and options.uses_matcher
        self.classifies = scorer.probabilities is not None and options.classifier_scale > 0
        self._strip = not options.prompt_in_text
        shape, device = (len(texts), scorer.language_model.vocabulary_size), scorer.language_model.device
        self._matching = torch.full(shape, torch.nan, device=device)
        self._probability = torch.full(shape, torch.nan, device=device)
        self._readings: dict[tuple[int, int], tuple[str, float]] = {}

    @property
    def has_guides(self) -> bool:
        return self.matches or self.classifies

    def __call__(self, candidates: Tensor, possible: Tensor, bound: float) -> tuple[Tensor | None, Tensor | None]:
        """Cosines with the row's source and probabilities of the wanted property, each of shape = (rows, k).

        Args:
            candidates: Tensor, shape = (rows, k), token ids.
            possible: bool Tensor, shape = (rows, k), which of them to score.
            bound: the classifier is not asked about texts whose cosine lies further behind the best one.

        Returns:
            None for a guide that does not count; NaN for what was not asked for.
        """
        matching = probability = None
        if self.matches:
            fit = lambda rows, texts: self.scorer.fit(texts, self.sources[rows])  # noqa: E731
            matching = self._looked_up(self._matching, candidates, possible, fit)
            best = matching.where(possible, -torch.inf).amax(-1, keepdim=True)
            possible = possible & (matching >= best - bound)
        if self.classifies:
            classify = lambda _, texts: self.scorer.probabilities(texts)  # noqa: E731
            probability = self._looked_up(self._probability, candidates, possible, classify)
            probability = probability.where(possible, torch.nan)
        return matching, probability

    def read_as(self, row: int, token: int, reading: str, fit: Tensor) -> None:
        """From now on a token of one row counts as more text than it has, whose own cosine with the source is `fit`."""
        self._readings[row, token] = reading, fit.item()

    def preview(self, tokens: Tensor) -> Tensor:
        """Cosine of each token's own text with the row's source, (rows, k), of token ids, (rows, k)."""
        fits = (self.scorer.token_embeddings(tokens).to(self.sources) * self.sources[:, None]).sum(-1)
        for (row, token), (_, fit) in self._readings.items():
            fits[row, tokens[row] == token] = fit
        return fits

    def _looked_up(self, table: Tensor, candidates: Tensor, wanted: Tensor, function) -> Tensor:
        """Values of the candidates, (rows, k), from a table (rows, vocabulary) in which those wanted are filled in."""
        rows, columns = torch.nonzero(wanted & table.gather(1, candidates).isnan(), as_tuple=True)
        if len(rows):
            tokens = candidates[rows, columns]
            texts = [self._continued(*pair) for pair in zip(rows.tolist(), tokens.tolist(), strict=True)]
            table[rows, tokens] = function(rows, texts).to(table)
        return table.gather(1, candidates)

    def _continued(self, row: int, token: int) -> str:
        piece, _ = self._readings.get((row, token), (self.scorer.language_model.pieces[token], None))
        text = self.texts[row] + piece
        return text.lstrip() if self._strip else text
