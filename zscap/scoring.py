"""The language model's proposal for the next token, and what the texts of its candidates are worth.

Each distinct text is embedded once and classified once, or never if it cannot win. What each saving rests on: a text's
embedding and its probability depend on neither source nor iteration, so they are kept from clip to clip; within one
token, scores are looked up by token id; and a classifier that adds at most `classifier_scale` need not be asked about a
text that lies further behind (docs/METHODS.md, section 7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import MissingWeights
from .language_model import Cache, LanguageModel, State
from .roles import Classifier, Matcher

REMEMBERED = 20_000  # texts: their embeddings take 80 MB at d = 1024
NO_NUMBERS = "the {} gives a number that is not finite; get its weights again, or in low precision take float32"


class Iteration(NamedTuple):
    """Candidates and their scores; Tensors of shape = (rows, k) but for log_p, (rows, vocabulary).

    Attributes:
        log_p: of the language model, with what guidance has done so far.
        candidates: token ids.
        matching: cosine of each candidate's text with the source, NaN where it was not asked for.
        probability: the classifier's, of each candidate's text, NaN where it was not asked for.
    """

    log_p: Tensor
    candidates: Tensor
    matching: Tensor | None
    probability: Tensor | None


@dataclass(frozen=True)
class Proposal:
    """The next token as the language model alone would have it, one row per live hypothesis.

    Attributes:
        language_model: for guidance that runs it again.
        state: the rows.
        logits: Tensor, shape = (rows, vocabulary), of the language model alone.
        log_p: their log-probabilities.
        cache: keys and values of all of the rows' tokens.
        possible: bool Tensor, shape = (rows, vocabulary), the tokens that may be chosen at all.
        end_ids: of the tokens that end a caption.
        scorer: of the candidates' texts.
    """

    language_model: LanguageModel
    state: State
    logits: Tensor
    log_p: Tensor
    cache: Cache
    possible: Tensor
    end_ids: list[int]
    scorer: CandidateScorer

    def most_probable(self, log_p: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and ids of the most probable of the possible tokens, (rows, number) or fewer."""
        return log_p.where(self.possible, -torch.inf).topk(min(number, int(self.possible.sum(-1).max())))

    def score(self, log_p: Tensor, candidates: Tensor, bound: float = torch.inf) -> Iteration:
        """The scores of candidates, (rows, k), under log_p, (rows, vocabulary); `bound` as of CandidateScorer."""
        return Iteration(log_p, candidates, *self.scorer(candidates, self.possible.gather(1, candidates), bound))


class Guided(NamedTuple):
    """What guidance made of a proposal.

    Attributes:
        log_p: Tensor, shape = (rows, vocabulary), log-probabilities up to a constant in each row. The loop takes what
            is not possible out of them, and normalises them.
        iterations: the candidates that were scored on the way.
    """

    log_p: Tensor
    iterations: tuple[Iteration, ...] = ()


def finite(values: Tensor, network: str, name: str) -> Tensor:
    """What a network says of what is called `name`.

    Raises:
        MissingWeights: not all of it are finite numbers.
    """
    if not values.isfinite().all():
        raise MissingWeights(f"{name}: {NO_NUMBERS.format(network)}")
    return values


class Remembered:
    """A function of texts that is asked about each distinct text once, while the text is among the last used.

    Args:
        function: n texts to a Tensor of n rows, each of which depends on its own text alone.
        limit: texts that are kept between calls.
    """

    def __init__(self, function: Callable[[list[str]], Tensor], limit: int = REMEMBERED):
        self.function = torch.no_grad()(function)  # a graph behind a row would be kept with it
        self.limit = limit
        self.asked = self.computed = 0  # texts, since the beginning
        self._rows: dict[str, Tensor] = {}  # the last used come last
        self._lock = Lock()

    def __call__(self, texts: list[str]) -> Tensor:
        with self._lock:
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


@dataclass
class CandidateScorer:
    """Scores of one token's candidates, the texts `text + piece`; one row per text that is continued.

    Args:
        scorer: remembers texts from token to token.
        texts: what is continued.
        sources: Tensor, shape = (rows, d), embedding of what each text is about; None leaves the matcher out.
        classifies: whether the classifier counts.
        strip: whether texts carry no prompt, so that one begins with a word.
        readings: by row and token, the text that a token counts as and its own cosine with the source.
    """

    scorer: Scorer
    texts: list[str]
    sources: Tensor | None
    classifies: bool
    strip: bool
    readings: Mapping[tuple[int, int], tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = self.scorer.language_model
        unknown = torch.full((2, len(self.texts), model.vocabulary_size), torch.nan, device=model.device)
        self._matching, self._probability = unknown

    @property
    def has_guides(self) -> bool:
        return self.sources is not None or self.classifies

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
        if self.sources is not None:
            fit = lambda rows, texts: self.scorer.fit(texts, self.sources[rows])  # noqa: E731
            matching = self._looked_up(self._matching, candidates, possible, fit)
            best = matching.where(possible, -torch.inf).amax(-1, keepdim=True)
            possible = possible & (matching >= best - bound)
        if self.classifies:
            classify = lambda _, texts: self.scorer.probabilities(texts)  # noqa: E731
            probability = self._looked_up(self._probability, candidates, possible, classify)
            probability = probability.where(possible, torch.nan)
        return matching, probability

    def preview(self, tokens: Tensor) -> Tensor:
        """Cosine of each token's own text with the row's source, (rows, k), of token ids, (rows, k)."""
        fits = (self.scorer.token_embeddings(tokens).to(self.sources) * self.sources[:, None]).sum(-1)
        for (row, token), (_, fit) in self.readings.items():
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
        piece, _ = self.readings.get((row, token), (self.scorer.language_model.pieces[token], None))
        text = self.texts[row] + piece
        return text.lstrip() if self.strip else text
