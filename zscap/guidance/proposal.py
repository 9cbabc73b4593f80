"""What guidance starts from: the language model's proposal for the next token, and the scores of its candidates."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..language_model import Cache, LanguageModel, State
from ..scoring import CandidateScorer


@dataclass(frozen=True)
class Iteration:
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
        scorer: of the candidates' texts.
        iterations: what has been scored so far.
    """

    language_model: LanguageModel
    state: State
    logits: Tensor
    log_p: Tensor
    cache: Cache
    possible: Tensor
    scorer: CandidateScorer
    iterations: list[Iteration] = field(default_factory=list)

    def most_probable(self, log_p: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and ids of the most probable of the possible tokens, (rows, number) or fewer."""
        return log_p.where(self.possible, -torch.inf).topk(min(number, int(self.possible.sum(-1).max())))

    def score(self, log_p: Tensor, candidates: Tensor, bound: float = torch.inf) -> Iteration:
        """The scores of candidates, (rows, k), under log_p, (rows, vocabulary); `bound` as of CandidateScorer."""
        scores = self.scorer(candidates, self.possible.gather(1, candidates), bound)
        self.iterations.append(Iteration(log_p, candidates, *scores))
        return self.iterations[-1]
