"""The loop: a language model proposes, guidance bends its distribution, beam search advances. Captioner and Caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import pandas as pd
import torch
from torch import Tensor

from .candidates import Classifier, Matcher, Scorer
from .errors import ZscapError
from .guidance import guide
from .guidance.target import Iteration
from .language_model import LanguageModel, State
from .options import GuidanceOptions, SteeringOptions
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
        options: GuidanceOptions | None = None,
        batch_size: int = 16,
    ):
        self.language_model = language_model
        self.matcher = matcher
        self.classifier = classifier
        self.options = options or SteeringOptions()
        self.batch_size = batch_size
        self.scorer = Scorer(language_model, matcher, classifier)

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
        """Captions in the order of `sources`, each as soon as it and those before it are done."""
        options = self.options.override(**changes)
        names: list[str] = []
        embeddings: dict[int, Tensor | None] = {}
        done: dict[int, Caption] = {}

        def readable() -> Iterator[int]:
            for place, source in enumerate(sources):
                names.append(source_name(source))
                try:
                    # One by one: an embedding must not depend on what else is in the batch.
                    embeddings[place] = self._encode(source)
                    yield place
                except ZscapError as error:
                    done[place] = Caption(names[place], error=error)

        told = 0
        for place, beam in self._decode(readable(), embeddings, options):
            done[place] = self._caption(names[place], beam, embeddings.pop(place), options)
            while told in done:
                yield done.pop(told)
                told += 1
        yield from (done[place] for place in sorted(done))  # those that could not be read, at the end

    def steps(self, source: Source, **changes) -> list[Step]:
        """The loop over one source, token by token: what was proposed, how it scored, what guidance made of it."""
        steps: list[Step] = []
        list(self._decode(iter([0]), {0: self._encode(source)}, self.options.override(**changes), steps))
        return steps

    @torch.no_grad()
    def _decode(
        self,
        sources: Iterator[int],
        embeddings: dict[int, Tensor | None],
        options: GuidanceOptions,
        watch: list[Step] | None = None,
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """The main loop. Each source's final beam, best first, once it has ended; the next source takes its place."""
        lm, scorer = self.language_model, self.scorer
        end_id = lm.end_id(options.end_token)
        prompt = lm.begin(options.prompt, options.max_new_tokens)
        state = prompt.repeat(0)
        search = BeamSearch(options.beam_size, end_id, options.max_new_tokens)
        while True:
            newcomers = list(islice(sources, self.batch_size - len(search.beams)))
            search.begin(newcomers)
            state = state.join(prompt.repeat(len(newcomers)))
            if not len(state):
                return
            logits0, cache = lm.forward(state.last, state.context, state.padding)
            log_p0 = logits0.log_softmax(-1)
            possible = plausible(log_p0, options.min_p)
            scorer.begin_token(*self._rows(state, search.rows, embeddings, options), options)
            iterations: list[Iteration] = []
            logits = guide(logits0, possible, state, lm, scorer, options, None if watch is None else iterations)
            first = torch.tensor([generated == 0 for _, generated in search.rows], device=lm.device)
            logits = penalise(logits, state.tokens, state.padding, first, end_id, options)
            log_p = options.fusion_scale * logits.log_softmax(-1) + (1 - options.fusion_scale) * log_p0
            log_p = log_p.where(possible, -torch.inf).log_softmax(-1)
            if watch is not None:
                watch.append(Step(scorer.texts, log_p0, log_p, iterations, lm.pieces))
            state = search.advance(state, cache, log_p, log_p0)
            yield from search.ended()

    def _rows(
        self, state: State, rows: list[tuple[int, int]], embeddings: dict[int, Tensor | None], options: GuidanceOptions
    ) -> tuple[list[str], Tensor | None]:
        """The text that each row continues, and its source's embedding, (rows, d)."""
        texts = [
            self.language_model.text(tokens[padding if options.prompt_in_text else len(tokens) - generated :])
            for tokens, padding, (_, generated) in zip(state.tokens.tolist(), state.padding.tolist(), rows, strict=True)
        ]
        return texts, None if self.matcher is None else torch.stack([embeddings[source] for source, _ in rows])

    def _encode(self, source: Source) -> Tensor | None:
        """The source's embedding, (d,); None without a matcher."""
        return None if self.matcher is None else self.matcher.encode_source([source])[0].to(self.language_model.device)

    def _caption(
        self, name: str, beam: list[Hypothesis], embedding: Tensor | None, options: GuidanceOptions
    ) -> Caption:
        """The hypothesis of a beam whose text, without the prompt, fits its source best; scored as a caption."""
        continuations = [self.language_model.continuation(options.prompt, hypothesis.tokens) for hypothesis in beam]
        best = 0
        if embedding is not None and len(beam) > 1:
            best = int(self.scorer.fit(continuations, embedding).argmax())
        chosen, continuation = beam[best], continuations[best]
        text = options.prompt + continuation if options.prompt_in_text else continuation.strip()
        return Caption(
            name,
            text,
            continuation,
            chosen.tokens,
            matching=None if embedding is None else self.scorer.fit([text], embedding).item(),
            classifier=None if self.classifier is None else self.scorer.probabilities([text]).item(),
            log_likelihood=chosen.unguided / len(chosen.tokens),
        )
