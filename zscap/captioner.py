"""The loop: a language model proposes, guidance bends its distribution, beam search advances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice

import torch
from torch import Tensor

from .caption import Caption, Step, rank
from .errors import InvalidOption, ZscapError
from .guidance import Proposal, guide
from .guidance.penalties import plausible
from .keywords import Keywords, prompt_with
from .language_models.causal import LanguageModel, State
from .options import DecodingOptions, SteeringOptions
from .roles import Classifier, Matcher
from .scoring import Scorer
from .search import BeamSearch, Hypothesis, Task
from .sources import Source, source_name


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
        options: DecodingOptions | None = None,
        batch_size: int = 16,
    ):
        self.language_model = language_model
        self.matcher = matcher
        self.classifier = classifier
        self.options = options or SteeringOptions()
        self.batch_size = batch_size
        self.scorer = Scorer(language_model, matcher, classifier)
        self._keywords = lru_cache(maxsize=4)(partial(Keywords, matcher=matcher))

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
        for drafts in self._drafts(sources, self.options.override(**changes)):
            yield drafts[0]

    def drafts(self, source: Source, **changes) -> list[Caption]:
        """All `num_drafts` captions of one source, the best first (`rank`)."""
        (drafts,) = self._drafts([source], self.options.override(**changes))
        if drafts[0].error is not None:
            raise drafts[0].error
        return drafts

    def score(self, source: Source, texts: list[str]) -> list[Caption]:
        """Texts from elsewhere, scored as captions of a source; their log-likelihood is not known."""
        embedding = self._encode(source)
        return [self._scored(Caption(source_name(source), text=text), embedding) for text in texts]

    def _drafts(self, sources: Iterable[Source], options: DecodingOptions) -> Iterator[list[Caption]]:
        names: list[str] = []
        done: dict[int, list[Caption]] = {}

        def readable() -> Iterator[Task]:
            for place, source in enumerate(sources):
                names.append(source_name(source))
                try:
                    task = self._task(place, source, options)
                except InvalidOption:
                    raise  # the fault is not this source's
                except ZscapError as error:
                    done[place] = [Caption(names[place], error=error)]
                    continue
                yield task
                for draft in range(1, options.num_drafts):
                    # A draft's own seed: what is drawn does not depend on the batch.
                    drawing = torch.Generator().manual_seed(options.seed * 1_000_003 + draft)
                    yield replace(task, drawing=drawing)

        told = 0
        made: dict[int, list[Caption]] = {}
        for task, beam in self._decode(readable(), options):
            drafts = made.setdefault(task.place, [])
            drafts.append(self._caption(names[task.place], task, beam, options))
            if len(drafts) == options.num_drafts:
                done[task.place] = sorted(made.pop(task.place), key=partial(rank, options=options), reverse=True)
            while told in done:
                yield done.pop(told)
                told += 1
        yield from (done[place] for place in sorted(done))  # those that could not be read, at the end

    def steps(self, source: Source, **changes) -> list[Step]:
        """The loop over one source, token by token: what was proposed, how it scored, what guidance made of it."""
        options = self.options.override(**changes)
        steps: list[Step] = []
        list(self._decode(iter([self._task(0, source, options)]), options, steps))
        return steps

    def _task(self, place: int, source: Source, options: DecodingOptions) -> Task:
        """A source made ready by itself: nothing about it may depend on what else is in the batch."""
        embedding = self._encode(source)
        keywords: list[str] = []
        if options.num_keywords:
            if embedding is None:
                raise InvalidOption(
                    f"num_keywords={options.num_keywords}: a matcher chooses keywords, and there is none; set it to 0"
                )
            keywords = self._keywords(options.keywords).best(embedding, options.num_keywords)
        prompt = prompt_with(keywords, options)
        state = self.language_model.begin(prompt, source)
        length = state.tokens.shape[1]
        self.language_model.check_room(length, options.room(length))
        return Task(place, prompt, state, options.room(length), embedding)

    @torch.no_grad()
    def _decode(
        self, tasks: Iterator[Task], options: DecodingOptions, watch: list[Step] | None = None
    ) -> Iterator[tuple[Task, list[Hypothesis]]]:
        """The main loop. Each task's final beam, best first, once it has ended; the next task takes its place."""
        lm, scorer = self.language_model, self.scorer
        end_ids = lm.end_ids(options.end_tokens)
        search = BeamSearch(options.beam_size, end_ids, options.draft_temperature)
        state = None
        while True:
            newcomers = list(islice(tasks, self.batch_size - len(search.beams)))
            search.begin(newcomers)
            if not search.rows:
                return
            state = State.joined([*([] if state is None else [state]), *(task.state for task in newcomers)])
            logits, cache = lm.forward(state)
            log_p0 = logits.log_softmax(-1)
            possible = plausible(log_p0, options.min_p)
            generated = torch.tensor([len(tokens) for _, tokens in search.rows], device=lm.device)
            scorer.begin_token(*self._texts(search, options), options)
            proposal = Proposal(logits, log_p0, possible, generated, state, cache, end_ids, lm, scorer)
            log_p = guide(proposal, options)
            if watch is not None:
                watch.append(Step(scorer.texts, log_p0, log_p, proposal.watched, lm.pieces))
            state = search.advance(state, cache, log_p, log_p0)
            yield from search.ended()

    def _texts(self, search: BeamSearch, options: DecodingOptions) -> tuple[list[str], Tensor | None]:
        """The text that each row continues, and its source's embedding, (rows, d)."""
        texts = [
            self.language_model.text(tokens, task.prompt if options.prompt_in_text else "")
            for task, tokens in search.rows
        ]
        return texts, None if self.matcher is None else torch.stack([task.embedding for task, _ in search.rows])

    def _caption(self, name: str, task: Task, beam: list[Hypothesis], options: DecodingOptions) -> Caption:
        """The hypothesis of a beam whose text, without the prompt, fits its source best; scored as a caption."""
        continuations = [self.language_model.continuation(task.prompt, hypothesis.tokens) for hypothesis in beam]
        best = 0
        if task.embedding is not None and len(beam) > 1:
            best = int(self.scorer.fit(continuations, task.embedding).argmax())
        chosen, continuation = beam[best], continuations[best]
        text = task.prompt + continuation if options.prompt_in_text else continuation.strip()
        likelihood = chosen.unguided / len(chosen.tokens)
        return self._scored(
            Caption(name, task.prompt, text, continuation, chosen.tokens, None, None, likelihood), task.embedding
        )

    def _encode(self, source: Source) -> Tensor | None:
        """The source's embedding, (d,); None without a matcher."""
        return None if self.matcher is None else self.matcher.encode_source([source])[0].to(self.language_model.device)

    def _scored(self, caption: Caption, embedding: Tensor | None) -> Caption:
        return replace(
            caption,
            matching=None if embedding is None else self.scorer.fit([caption.text], embedding).item(),
            classifier=None if self.classifier is None else self.scorer.probabilities([caption.text]).item(),
        )
