"""What comes out: captions, what they are ranked by, and the steps that led to one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from .errors import ZscapError
from .options import DecodingOptions
from .roles import Event
from .scoring import Iteration

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Caption:
    """What was written about one source. A network that is absent gives None.

    Attributes:
        source: its name.
        prompt: keywords included.
        text: what a reader sees and what is scored.
        continuation: what was generated after the prompt.
        tokens: ids of the continuation.
        matching: cosine of text and source.
        classifier: probability of the wanted property.
        log_likelihood: mean per token under the unguided language model.
        confidence: the probability that the source's main sound is what it is taken for.
        events: which sounds are heard from when to when, of a stretch by the time in its recording; empty if the
            matcher doesn't tell.
        error: why there is no text.

    Examples:
        >>> import zscap
        >>> made = zscap.Caption("rain.wav", prompt="audio of", text="rain falls", continuation=" rain falls")
        >>> made.text, made.matching
        ('rain falls', None)
    """

    source: str
    prompt: str = ""
    text: str = ""
    continuation: str = ""
    tokens: tuple[int, ...] = ()
    matching: float | None = None
    classifier: float | None = None
    log_likelihood: float | None = None
    confidence: float | None = None
    events: tuple[Event, ...] = ()
    error: ZscapError | None = None


def rank(caption: Caption, options: DecodingOptions) -> float:
    """What whole captions of one source are compared by: matcher and classifier, else the language model."""
    matching = caption.matching if options.uses_matcher else None
    classifier = caption.classifier if options.classifier_scale > 0 else None
    if matching is None and classifier is None:
        return -math.inf if caption.log_likelihood is None else caption.log_likelihood
    return (matching or 0.0) + options.classifier_scale * (classifier or 0.0)


@dataclass(frozen=True)
class Step:
    """One token of the loop, opened up; one row per live hypothesis.

    Attributes:
        texts: what is continued.
        before: Tensor, shape = (rows, vocabulary), log-probabilities of the language model alone.
        after: Tensor, shape = (rows, vocabulary), what the search sees: guided, penalised, fused.
        iterations: candidates and their scores, as guidance asked for them.
        pieces: each token's text.
    """

    texts: list[str]
    before: Tensor
    after: Tensor
    iterations: list[Iteration]
    pieces: list[str] = field(repr=False)

    def table(self, row: int = 0, k: int = 10) -> pd.DataFrame:
        """The `k` tokens most probable after guidance: piece, before, after, and the last iteration's scores."""
        import pandas as pd  # late: captioning needs no tables

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
