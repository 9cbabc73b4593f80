"""Beam search over a batch of sources; a beam of one is greedy decoding. Rows that ended leave the batch."""

from __future__ import annotations

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
    """

    def __init__(self, sources: int, beam_size: int, end_id: int):
        self.beam_size = beam_size
        self.end_id = end_id
        self.beams = [[Hypothesis(row=row)] for row in range(sources)]

    @property
    def owners(self) -> list[int]:
        """The source of each row of the batch."""
        return [source for source, beam in enumerate(self.beams) for hypothesis in beam if hypothesis.row is not None]

    def advance(self, state: State, cache: Context, log_p: Tensor, log_p0: Tensor) -> State:
        """The state of the rows that go on, each one token longer.

        cache : keys and values of all of the state's tokens
        log_p, log_p0 : Tensors, shape = (rows, vocabulary), guided and unguided log-probabilities
        """
        best = log_p.topk(min(self.beam_size, log_p.shape[1]))
        columns = best.indices, best.values, log_p0.gather(1, best.indices)
        extensions = list(zip(*(column.tolist() for column in columns), strict=True))
        rows: list[int] = []
        for beam in self.beams:
            pool = [hypothesis for hypothesis in beam if hypothesis.row is None]
            for old in beam:
                if old.row is not None:
                    pool += [
                        Hypothesis((*old.tokens, token), old.guided + p, old.unguided + p0, old.row)
                        for token, p, p0 in zip(*extensions[old.row], strict=True)
                    ]
            beam[:] = sorted(pool, key=lambda hypothesis: -hypothesis.score)[: self.beam_size]
            for place, hypothesis in enumerate(beam):
                if hypothesis.tokens[-1] == self.end_id:
                    beam[place] = replace(hypothesis, row=None)
                else:
                    beam[place] = replace(hypothesis, row=len(rows))
                    rows.append(hypothesis.row)
        tokens = [hypothesis.tokens[-1] for beam in self.beams for hypothesis in beam if hypothesis.row is not None]
        device = state.tokens.device
        return state.extend(
            torch.tensor(rows, dtype=torch.long, device=device),
            torch.tensor(tokens, dtype=torch.long, device=device),
            cache,
        )
