"""Beam search over a batch of sources; a beam of one is greedy decoding. Rows that ended leave the batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import ZscapError
from .language_model import Cache, State
from .roles import Heard
from .store import Nearest


@dataclass(frozen=True, eq=False)
class Task:
    """A caption to be made.

    Attributes:
        index: of the source among all sources.
        source: its name.
        prompt: how the text begins, keywords included.
        state: one row; None where there is an error.
        max_new_tokens: of the caption.
        heard: in the source; None without a matcher.
        nearest: captions of a store, where there is one.
        generator: of a draft whose tokens are drawn; None takes the most probable.
        error: why there will be no caption.
    """

    index: int
    source: str
    prompt: str = ""
    state: State | None = None
    max_new_tokens: int = 0
    heard: Heard | None = None
    nearest: Nearest | None = None
    generator: torch.Generator | None = None
    error: ZscapError | None = None

    @property
    def embedding(self) -> Tensor | None:
        """The source's, shape = (d,)."""
        return None if self.heard is None else self.heard.embeddings[0]


@dataclass(frozen=True)
class Hypothesis:
    """A text in the making: its generated tokens, and the sums of log-probabilities over them."""

    tokens: tuple[int, ...] = ()
    guided: float = 0.0  # under the guided distribution
    unguided: float = 0.0  # under the language model alone
    row: int | None = None  # in the batch, None once it has ended

    @property
    def score(self) -> float:
        return self.guided / len(self.tokens)


class BeamSearch:
    """Keeps, for each task, the `beam_size` hypotheses of highest mean log-probability per token.

    An ended hypothesis stays in its beam and competes with the score it has, as in the authors' released code.
    Tasks come and go, so those of one batch may be at different lengths. `rows` is a list of (task, tokens generated
    so far), one for each row of the batch.

    Args:
        beam_size: hypotheses of each task.
        end_ids: tokens after which a text has ended.
        temperature: of the distribution that drafts are drawn from.
    """

    def __init__(self, beam_size: int, end_ids: Collection[int], temperature: float = 1.0):
        self.beam_size = beam_size
        self.temperature = temperature
        self.end_ids = end_ids
        self.beams: dict[Task, list[Hypothesis]] = {}
        self.rows: list[tuple[Task, tuple[int, ...]]] = []

    def begin(self, tasks: Iterable[Task]) -> None:
        """Tasks whose texts begin, one row each after those that are there; without a state, they have ended."""
        for task in tasks:
            self.beams[task] = [] if task.state is None else [Hypothesis(row=len(self.rows))]
            self.rows += [(task, ())] * len(self.beams[task])

    def advance(self, state: State, cache: Cache, log_p: Tensor, log_p0: Tensor) -> State:
        """The state of the rows that go on, each one token longer.

        Args:
            cache: keys and values of all of the state's tokens.
            log_p, log_p0: Tensors, shape = (rows, vocabulary), guided and unguided log-probabilities.
        """
        drawn = self._with_noise(log_p)
        best = drawn.topk(min(self.beam_size, log_p.shape[1])).indices
        columns = best, log_p.gather(1, best), log_p0.gather(1, best)
        extensions = list(zip(*(column.tolist() for column in columns), strict=True))
        self.rows, kept, tokens = [], [], []
        for task, beam in self.beams.items():
            pool = [hypothesis for hypothesis in beam if hypothesis.row is None]
            for old in beam:
                if old.row is not None:
                    pool += [
                        Hypothesis((*old.tokens, token), old.guided + p, old.unguided + p0, old.row)
                        for token, p, p0 in zip(*extensions[old.row], strict=True)
                        if p > -torch.inf  # a wide beam reaches tokens that are not possible
                    ]
            beam[:] = sorted(pool, key=lambda hypothesis: -hypothesis.score)[: self.beam_size]
            for number, hypothesis in enumerate(beam):
                if hypothesis.row is None:
                    continue
                if hypothesis.tokens[-1] in self.end_ids or len(hypothesis.tokens) == task.max_new_tokens:
                    beam[number] = replace(hypothesis, row=None)
                else:
                    beam[number] = replace(hypothesis, row=len(kept))
                    kept.append(hypothesis.row)
                    tokens.append(hypothesis.tokens[-1])
                    self.rows.append((task, hypothesis.tokens))
        rows, last = torch.tensor([kept, tokens], dtype=torch.long, device=state.tokens.device)
        return state.extend(rows, last, cache)

    def _with_noise(self, log_p: Tensor) -> Tensor:
        """With Gumbel noise in the rows of drafts: there the largest is a draw from the distribution."""
        drafts = [(row, task.generator) for row, (task, _) in enumerate(self.rows) if task.generator is not None]
        if drafts:
            log_p = log_p.clone()
        for row, generator in drafts:
            uniform = torch.rand(log_p.shape[1], generator=generator, dtype=torch.float64)
            log_p[row] = log_p[row] / self.temperature - uniform.log().neg().log().to(log_p)
        return log_p

    def ended(self) -> list[tuple[Task, list[Hypothesis]]]:
        """The tasks whose hypotheses have all ended, with their beams; they leave the search."""
        tasks = [task for task, beam in self.beams.items() if all(h.row is None for h in beam)]
        return [(task, self.beams.pop(task)) for task in tasks]
