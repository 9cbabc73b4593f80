"""What comes out: captions, what they are ranked by, and the steps that led to one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from torch import Tensor

from .errors import ZscapError
from .guidance import Iteration
from .options import DecodingOptions


@dataclass(frozen=True)
class Caption:
    """What was written about one source. A network that is absent gives None."""

    source: str
    prompt: str = ""  # keywords included
    text: str = ""  # what a reader sees and what is scored
    continuation: str = ""  # what was generated after the prompt
    tokens: tuple[int, ...] = ()  # ids of the continuation
    matching: float | None = None  # cosine of text and source
    classifier: float | None = None  # probability of the wanted property
    log_likelihood: float | None = None  # mean per token under the unguided language model
    error: ZscapError | None = None  # why there is no text


def rank(caption: Caption, options: DecodingOptions) -> float:
    """What whole captions of one source are compared by: matcher and classifier, else the language model."""
    if caption.matching is None and caption.classifier is None:
        return caption.log_likelihood or 0.0
    return (caption.matching or 0.0) + options.classifier_scale * (caption.classifier or 0.0)


@dataclass(frozen=True)
class Step:
    """One token of the loop, opened up; one row per live hypothesis."""

    texts: list[str]  # the text that is continued
    before: Tensor  # log-probabilities of the language model alone, (rows, vocabulary)
    after: Tensor  # what the search sees: guided, penalised, fused
    iterations: list[Iteration]
    pieces: list[str] = field(repr=False)  # each token's text

    def table(self, row: int = 0, k: int = 10) -> pd.DataFrame:
        """The `k` tokens most probable after guidance: piece, before, after, and the last iteration's scores."""
        tokens = self.after[row].topk(k).indices
        columns = {
            "piece": [self.pieces[token] for token in tokens.tolist()],
            "before": self.before[row, tokens].exp().tolist(),
            "after": self.after[row, tokens].exp().tolist(),
        }
        table = pd.DataFrame(columns, index=pd.Index(tokens.tolist(), name="token"))
        if self.iterations:
            last = self.iterations[-1]
            for name, scores in (("matching", last.matching), ("classifier", last.probability)):
                if scores is not None:
                    table[name] = pd.Series(scores[row].tolist(), index=last.candidates[row].tolist())
        return table
