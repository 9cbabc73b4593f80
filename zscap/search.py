"""Beam search over a batch of sources; a beam of one is greedy decoding. Rows that ended leave the batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .language_model import Context, State


@dataclass(frozen=True)
class Hypothesis:
    """A text in the making: its generated tokens, and the sums of log-probabilities over them."""

    tokens: tuple[int, ...] = ()
    guided: float = 0.0  # under the guided distribution
    unguided: float = 0.0  # under the language model alone
    row: int | None = None  # where it stands in the batch, None once it has ended

    @property
    def score(self) -> float:
        return self.guided / len(self.tokens)


class BeamSearch:
    """Keeps, for each source, the `beam_size` hypotheses of highest mean log-probability per token.

    An ended hypothesis stays in its beam and competes with the score it has, as in the authors' released code.
    Sources come and go, so those of one batch may be at different lengths. `rows` is a list of (source, tokens
    generated so far), one for each row of the batch.
    """

    def __init__(self, beam_size: int, end_id: int, max_new_tokens: int):
        self.beam_size = beam_size
        self.end_id = end_id
        self.max_new_tokens = max_new_tokens
        self.beams: dict[int, list[Hypothesis]] = {}  # by source
        self.rows: list[tuple[int, int]] = []

    def begin(self, sources: Iterable[int]) -> None:
        """Sources whose texts begin, one row each after those that are there."""
        for source in sources:
            self.beams[source] = [Hypothesis(row=len(self.rows))]
            self.rows.append((source, 0))

    def advance(self, state: State, cache: Context, log_p: Tensor, log_p0: Tensor) -> State:
        """The state of the rows that go on, each one token longer.

        cache : keys and values of all of the state's tokens
        log_p, log_p0 : Tensors, shape = (rows, vocabulary), guided and unguided log-probabilities
        """
        best = log_p.topk(min(self.beam_size, log_p.shape[1]))
        columns = best.indices, best.values, log_p0.gather(1, best.indices)
        extensions = list(zip(*(column.tolist() for column in columns), strict=True))
        self.rows, kept, tokens = [], [], []
        for source, beam in self.beams.items():
            pool = [hypothesis for hypothesis in beam if hypothesis.row is None]
            for old in beam:
                if old.row is not None:
                    pool += [
                        Hypothesis((*old.tokens, token), old.guided + p, old.unguided + p0, old.row)
                        for token, p, p0 in zip(*extensions[old.row], strict=True)
                    ]
            beam[:] = sorted(pool, key=lambda hypothesis: -hypothesis.score)[: self.beam_size]
            for place, hypothesis in enumerate(beam):
                if hypothesis.tokens[-1] == self.end_id or len(hypothesis.tokens) == self.max_new_tokens:
                    beam[place] = replace(hypothesis, row=None)
                else:
                    beam[place] = replace(hypothesis, row=len(kept))
                    kept.append(hypothesis.row)
                    tokens.append(hypothesis.tokens[-1])
                    self.rows.append((source, len(hypothesis.tokens)))
        device = state.tokens.device
        return state.extend(
            torch.tensor(kept, dtype=torch.long, device=device),
            torch.tensor(tokens, dtype=torch.long, device=device),
            cache,
        )

    def ended(self) -> list[tuple[int, list[Hypothesis]]]:
        """The sources whose hypotheses have all ended, with their beams; they leave the search."""
        sources = [source for source, beam in self.beams.items() if all(h.row is None for h in beam)]
        return [(source, self.beams.pop(source)) for source in sources]
