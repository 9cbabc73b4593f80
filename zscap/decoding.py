"""The loop: a language model proposes, guidance bends its distribution, beam search advances. Captioner and Caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor

from .candidates import Classifier, Matcher, Scorer
from .errors import ZscapError
from .guidance.steering import Iteration, steer
from .language_model import LanguageModel
from .options import SteeringOptions
from .penalties import penalise, plausible
from .search import BeamSearch, Hypothesis
from .sources import Source, source_name


@dataclass(frozen=True)
class Caption:
    """What was written about one source. A network that is absent gives None."""

    source: str
    text: str = ""  # what a reader sees and what is scored
    continuation: str = ""  # what was generated after the prompt
    tokens: tuple[int, ...] = ()  # ids of the continuation
    matching: float | None = None  # cosine of text and source
    classifier: float | None = None  # probability of the wanted property
    log_likelihood: float | None = None  # mean per token under the unguided language model
    error: ZscapError | None = None  # why there is no text


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


class Captioner:
    """Captions sources with frozen networks; nothing is loaded or trained here.

    Args:
        language_model: proposes the words.
        matcher: says how well a text fits a source; None leaves the source out.
        classifier: says whether a text has the wanted property; None leaves it out.
        options: their class says which guidance runs.
        batch_size: sources decoded together; captions do not depend on it.

    >>> import zscap
    >>> captioner = zscap.load("embedded")
    >>> caption = captioner("dog.wav")  # doctest: +SKIP
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        matcher: Matcher | None = None,
        classifier: Classifier | None = None,
        options: SteeringOptions | None = None,
        batch_size: int = 16,
    ):
        self.language_model = language_model
        self.matcher = matcher
        self.classifier = classifier
        self.options = options or SteeringOptions()
        self.batch_size = batch_size

    def __call__(self, sources: Source | list[Source], **changes) -> Caption | list[Caption]:
        """One caption for one source, a list for a list, in its order.

        Args:
            sources: a path, or `(samples, rate)`; many of them in a list.
            changes: options that differ for this call, by name.

        Raises:
            InvalidOption: an unknown option or an impossible value.
            UnreadableSource: of a single source. In a list the source's caption carries the error instead.
        """
        if isinstance(sources, list):
            return list(self.stream(sources, **changes))
        caption = next(self.stream([sources], **changes))
        if caption.error is not None:
            raise caption.error
        return caption

    def stream(self, sources: Iterable[Source], **changes) -> Iterator[Caption]:
        """Captions in the order of `sources`, each batch as soon as it is done."""
        options = self.options.override(**changes)
        sources = list(sources)
        for start in range(0, len(sources), self.batch_size):
            yield from self._caption(sources[start : start + self.batch_size], options)

    def steps(self, source: Source, **changes) -> list[Step]:
        """The loop over one source, token by token: what was proposed, how it scored, what guidance made of it."""
        steps: list[Step] = []
        self._decode(1, self._encode(source), self.options.override(**changes), steps)
        return steps

    @torch.no_grad()
    def _decode(
        self, sources: int, embeddings: Tensor | None, options: SteeringOptions, watch: list[Step] | None = None
    ) -> list[list[Hypothesis]]:
        """The main loop. The final beam of each source, best mean log-probability first."""
        lm = self.language_model
        end_id = lm.end_id(options.end_token)
        state = lm.begin(options.prompt, sources, options.max_new_tokens)
        scorer = Scorer(lm, self.matcher, self.classifier, embeddings, options)
        search = BeamSearch(sources, options.beam_size, end_id)
        for position in range(options.max_new_tokens):
            logits0, cache = lm.forward(state.last, state.context)
            scorer.begin_token(state.tokens, position, search.owners)
            iterations: list[Iteration] = []
            logits = steer(logits0, state, lm, scorer, options, iterations if watch is not None else None)
            logits = penalise(logits, state.tokens, position, end_id, options)
            log_p0 = logits0.log_softmax(-1)
            log_p = options.fusion_scale * logits.log_softmax(-1) + (1 - options.fusion_scale) * log_p0
            log_p = log_p.where(plausible(log_p0, options.min_p), -torch.inf).log_softmax(-1)
            if watch is not None:
                watch.append(Step(scorer.texts, log_p0, log_p, iterations, lm.pieces))
            state = search.advance(state, cache, log_p, log_p0)
            if len(state.tokens) == 0:
                break
        return search.beams

    def _caption(self, sources: list[Source], options: SteeringOptions) -> list[Caption]:
        """Captions of one batch; a source that cannot be read costs no other."""
        captions: list[Caption | None] = [None] * len(sources)
        embeddings = []
        for place, source in enumerate(sources):
            try:
                embeddings.append(self._encode(source))
            except ZscapError as error:
                captions[place] = Caption(source_name(source), error=error)
        places = [place for place, caption in enumerate(captions) if caption is None]
        if places:
            embedded = None if self.matcher is None else torch.cat(embeddings)
            beams = self._decode(len(places), embedded, options)
            for place, caption in zip(places, self._chosen(beams, embedded, options), strict=True):
                captions[place] = replace(caption, source=source_name(sources[place]))
        return captions

    def _encode(self, source: Source) -> Tensor | None:
        # One by one: an embedding must not depend on what else is in the batch.
        return None if self.matcher is None else self.matcher.encode_source([source]).to(self.language_model.device)

    def _chosen(
        self, beams: list[list[Hypothesis]], embeddings: Tensor | None, options: SteeringOptions
    ) -> list[Caption]:
        """The hypothesis of each beam whose text, without the prompt, fits its source best; scored as a caption."""
        lm = self.language_model
        best = [beam[0] for beam in beams]
        if embeddings is not None and options.beam_size > 1:
            texts = [lm.continuation(options.prompt, hypothesis.tokens) for beam in beams for hypothesis in beam]
            features = iter(self._embedded(texts))
            for source, beam in enumerate(beams):
                fits = torch.stack([next(features) @ embeddings[source] for _ in beam])
                best[source] = beam[int(fits.argmax())]
        continuations = [lm.continuation(options.prompt, hypothesis.tokens) for hypothesis in best]
        texts = [options.prompt + text if options.prompt_in_text else text.strip() for text in continuations]
        matching = probability = [None] * len(texts)
        if embeddings is not None:
            matching = (self._embedded(texts) * embeddings).sum(1).tolist()
        if self.classifier is not None:
            probability = self.classifier.probability(texts).tolist()
        return [
            Caption("", text, continuation, hypothesis.tokens, fit, p, hypothesis.unguided / len(hypothesis.tokens))
            for text, continuation, hypothesis, fit, p in zip(
                texts, continuations, best, matching, probability, strict=True
            )
        ]

    def _embedded(self, texts: list[str]) -> Tensor:
        return self.matcher.encode_text(texts).to(self.language_model.device)
