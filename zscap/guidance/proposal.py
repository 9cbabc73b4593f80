"""What guidance starts from: the language model's proposal for the next token, and the scores of its candidates."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..language_models.causal import Context, LanguageModel, State
from ..options import GuidanceOptions
from ..scoring import Scorer
from .penalties import penalise


@dataclass(frozen=True)
class Iteration:
    """One look at the candidates; Tensors of shape (rows, k) but for log_p, (rows, vocabulary)."""

    log_p: Tensor  # of the language model, with what guidance has done so far
    candidates: Tensor  # token ids
    matching: Tensor | None  # cosine of each candidate's text with the source, NaN where it was not asked for
    probability: Tensor | None  # the classifier's, of each candidate's text, NaN where it was not asked for


@dataclass(frozen=True)
class Proposal:
    """The next token as the language model alone would have it, one row per live hypothesis.

    logits, log_p : Tensors, shape = (rows, vocabulary)
    possible : bool Tensor, shape = (rows, vocabulary), the tokens that may be chosen at all
    generated : Tensor, shape = (rows,), tokens that have been generated so far
    state, cache : the rows, and keys and values of all of their tokens
    end_ids : tokens that end a text
    """

    logits: Tensor
    log_p: Tensor
    possible: Tensor
    generated: Tensor
    state: State
    cache: Context
    end_ids: list[int]
    language_model: LanguageModel
    scorer: Scorer
    watched: list[Iteration] = field(default_factory=list)  # every look at the candidates

    def most_probable(self, log_p: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and ids of the most probable of the possible tokens, (rows, number) or fewer."""
        return log_p.where(self.possible, -torch.inf).topk(min(number, int(self.possible.sum(-1).max())))

    def look(self, log_p: Tensor, candidates: Tensor) -> Iteration:
        """The scores of candidates, (rows, k), under log_p, (rows, vocabulary)."""
        matching, probability = self.scorer(candidates, self.possible.gather(1, candidates))
        self.watched.append(Iteration(log_p, candidates, matching, probability))
        return self.watched[-1]

    def finish(self, logits: Tensor, options: GuidanceOptions) -> Tensor:
        """What the search sees, from guided logits: penalised, then mixed with the unguided distribution."""
        state = self.state
        logits = penalise(logits, state.tokens, state.padding, self.generated == 0, self.end_ids[0], options)
        log_p = options.fusion_scale * logits.log_softmax(-1) + (1 - options.fusion_scale) * self.log_p
        return log_p.where(self.possible, -torch.inf).log_softmax(-1)
