"""The loop: a language model proposes, guidance bends its distribution, beam search advances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from typing import overload

import torch
from torch import Tensor

from .caption import Caption, Step, rank
from .errors import InvalidOption, MissingWeights, ZscapError
from .guidance import guide
from .guidance.penalties import plausible
from .guidance.words import Guidance, WholeWords, default_words, with_whole_words
from .keywords import Keywords, default_keywords, prompt_with
from .language_model import LanguageModel, State
from .options import DecodingOptions, SteeringOptions
from .roles import Classifier, Event, Heard, Matcher, Source, source_name
from .scoring import NO_NUMBERS, CandidateScorer, Proposal, Scorer, finite
from .search import BeamSearch, Hypothesis, Task
from .store import Store, prompt_after

UNCLEAR = "An unclear sound."


class Captioner:
    """Captions sources with frozen networks; nothing is loaded or trained here.

    Args:
        language_model: proposes the words.
        matcher: says how well a text fits a source; None leaves the source out.
        classifier: says whether a text has the wanted property; None leaves it out.
        options: their class says which guidance runs.
        batch_size: sources decoded together; what captions owe to it is said below.

    A caption is the same alone, in a batch of any size and order, and with one or two threads where the networks run
    in double precision, as those of the embedded presets do: of 100 sounds, 0 differed. In float32, sums round with the
    size of the batch, and gradient steering amplifies that: up to 4 of 100 captions of the embedded networks had other
    tokens than alone with one thread; by proximal steering 0, and 0 of 100 with a tiny GPT-2 that is
    steered and a tiny OPT by MAGIC (data/results/invariance.csv, made by studies/invariance.py).

    Raises:
        InvalidOption: a batch_size under 1.

    Examples:
        >>> import zscap
        >>> captioner = zscap.load("embedded")
        >>> caption = captioner("data/soundscapes/rain-1.flac")
        >>> caption.text, round(caption.matching, 1)
        ('rain falling on a hard surface.', 0.7)
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
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InvalidOption(f"batch_size={batch_size!r}: must be a whole number, at least 1")
        self.language_model = language_model
        self.matcher = matcher
        self.classifier = classifier
        self.options = options or SteeringOptions()
        self.batch_size = batch_size
        self.scorer = Scorer(language_model, matcher, classifier)
        self._keywords = lru_cache(maxsize=4)(partial(Keywords, matcher=matcher))
        self._store = lru_cache(maxsize=4)(partial(Store, matcher=matcher))
        words = partial(WholeWords, language_model=language_model, embed=self.scorer.embeddings)
        self._whole_words = lru_cache(maxsize=4)(words)

    @overload
    def __call__(self, sources: list[Source], **changes) -> list[Caption]: ...

    @overload
    def __call__(self, sources: Source, **changes) -> Caption: ...

    def __call__(self, sources, **changes):
        """One caption for one source, a list for a list, in its order.

        Args:
            sources: a path, or `(samples, rate)`, or a PIL image; many of them in a list.
            changes: options that differ for this call, by name.

        Raises:
            InvalidOption: an unknown option, or an impossible value.
            MissingWeights: matcher or classifier gives no finite numbers for a text.
            ZscapError: whatever is wrong with a single source. In a list its caption carries the error instead.

        Examples:
            >>> import zscap
            >>> captioner = zscap.load("embedded")
            >>> clips = ["data/soundscapes/dog_bark-3.flac", "data/soundscapes/rain-1.flac", "nothing.flac"]
            >>> [caption.text or type(caption.error).__name__ for caption in captioner(clips, max_new_tokens=2)]
            ['dog barking', 'rain falling', 'UnreadableSource']
        """
        if isinstance(sources, list):
            return list(self.stream(sources, **changes))
        return self.drafts(sources, **changes)[0]

    def stream(self, sources: Iterable[Source], **changes) -> Iterator[Caption]:
        """Captions in the order of `sources`, each as soon as it and those before it are done."""
        for drafts in self._captions(sources, self.options.override(**changes)):
            yield drafts[0]

    def drafts(self, source: Source, **changes) -> list[Caption]:
        """All `num_drafts` captions of one source, with a store one more, the best first (docs/METHODS.md)."""
        (drafts,) = self._captions([source], self.options.override(**changes))
        if drafts[0].error is not None:
            raise drafts[0].error
        return drafts

    def steps(self, source: Source, **changes) -> list[Step]:
        """The loop over one source, token by token: what was proposed, how it scored, what guidance made of it.

        Examples:
            >>> import zscap
            >>> steps = zscap.load("embedded", max_new_tokens=3).steps("data/soundscapes/rain-1.flac")
            >>> [step.pieces[step.after[0].argmax()] for step in steps]
            [' rain', ' falling', ' on']
            >>> steps[0].table(k=2).round(1)
                   piece  before  after  matching  classifier
            token
            540     rain     0.0    0.4       0.7         0.5
            257        a     0.5    0.3       0.3         0.5
        """
        steps: list[Step] = []
        (drafts,) = self._captions([source], self.options.override(**changes | {"num_drafts": 1}), steps)
        if drafts[0].error is not None:
            raise drafts[0].error
        return steps

    def score(self, source: Source, texts: list[str]) -> list[Caption]:
        """Texts from elsewhere, scored as captions of a source; their log-likelihood is not known.

        Examples:
            >>> import zscap
            >>> captioner = zscap.load("embedded")
            >>> scored = captioner.score("data/soundscapes/rain-1.flac", ["rain falls", "a dog barks"])
            >>> [round(caption.matching, 1) for caption in scored]
            [0.7, 0.1]
        """
        heard = self._hear(source)
        return [self._scored(Caption(source_name(source), text=text), heard) for text in texts]

    def listen(self, source: Source, progress: Callable[[float], object] | None = None) -> tuple[Event, ...]:
        """Which sounds a source holds, and from when to when, without a caption; a recording may be of any length.

        Args:
            source: a path, or `(samples, rate)`.
            progress: is told from time to time how many seconds of the source have been heard.

        Raises:
            InvalidOption: the matcher doesn't tell sounds apart.
            UnreadableSource: no such file, or it holds no sound.
        """
        if not hasattr(self.matcher, "listen"):
            name = type(self.matcher).__name__
            raise InvalidOption(f"matcher {name}: doesn't tell sounds apart; load a preset that does, such as small")
        return self.matcher.listen(source, *([progress] if progress else [])).events

    def _captions(
        self, sources: Iterable[Source], options: DecodingOptions, watch: list[Step] | None = None
    ) -> Iterator[list[Caption]]:
        """The drafts of each source, the best first, in the order of the sources."""
        options = self._checked(options)
        tasks = (task for index, source in enumerate(sources) for task in self._tasks(index, source, options))
        drafts: dict[int, list[Caption]] = defaultdict(list)
        following = 0  # index of the source whose drafts come out next
        for task, beam in self._decode(tasks, options, watch):
            drafts[task.index].append(self._caption(task, beam, options))
            if len(drafts[task.index]) == options.num_drafts:
                drafts[task.index] = self._best_first(drafts[task.index], task, options)
            while len(drafts[following]) >= options.num_drafts:
                yield drafts.pop(following)
                following += 1

    def _best_first(self, drafts: list[Caption], task: Task, options: DecodingOptions) -> list[Caption]:
        """The drafts of a task's source, with a store also its most central caption, the best first.

        An unclear sound is called one, before its drafts.

        With a store that is minimum Bayes risk: the best draft agrees most with the captions near each of the sounds,
        by its mean cosine with those of the sound that it agrees with least.
        """
        confidence = None if task.heard is None else task.heard.confidence
        if confidence is not None and confidence < options.unclear_below:
            return [self._scored(Caption(task.source, task.prompt, UNCLEAR, UNCLEAR), task.heard), *drafts]
        if task.nearest is None or task.error is not None:
            return sorted(drafts, key=partial(rank, options=options), reverse=True)
        central = task.nearest.texts[0]
        drafts = [self._scored(Caption(task.source, task.prompt, central, central), task.heard), *drafts]
        texts = self.scorer.embeddings([draft.text for draft in drafts]).to(task.embedding)
        agreement = torch.stack([(texts @ near.T).mean(-1) for near in task.nearest.sounds]).amin(0)
        audible = [options.classifier_scale * (draft.classifier or 0.0) for draft in drafts]
        order = (agreement + agreement.new_tensor(audible)).argsort(descending=True, stable=True)
        return [drafts[index] for index in order.tolist()]

    def _checked(self, options: DecodingOptions) -> DecodingOptions:
        """The options with the names that keywords come from.

        Raises:
            InvalidOption: what would be wrong with every source.
        """
        lm = self.language_model
        lm.end_ids(options.end_tokens)
        for token in getattr(options, "forbidden_tokens", ()):
            if token >= lm.vocabulary_size:
                raise InvalidOption(
                    f"forbidden_tokens={options.forbidden_tokens}: the language model's ids end at "
                    f"{lm.vocabulary_size - 1}; leave out {token}"
                )
        if options.num_keywords and self.matcher is None:
            raise InvalidOption(
                f"num_keywords={options.num_keywords}: a matcher chooses keywords, and there is none; set it to 0"
            )
        if options.store and self.matcher is None:
            raise InvalidOption(f"store={options.store!r}: a matcher looks for captions in it, and there is none")
        if options.store:
            self._store(options.store)
        self._max_new_tokens(lm.prompt_length(options.prompt), options)
        return options.override(keywords=options.keywords or default_keywords()) if options.num_keywords else options

    def _max_new_tokens(self, length: int, options: DecodingOptions) -> int:
        """Tokens that may follow a prompt of `length` tokens. Raises InvalidOption if there are none."""
        if options.max_length and length >= options.max_length:
            raise InvalidOption(f"max_length={options.max_length}: the prompt has {length} tokens; allow for more")
        limit = options.max_length - length if options.max_length else options.max_new_tokens
        limit = min(limit, options.max_new_tokens)
        self.language_model.check_length(length, limit)
        return limit

    def _tasks(self, index: int, source: Source, options: DecodingOptions) -> Iterator[Task]:
        """A source's drafts, made ready; nothing about them may depend on what else is in the batch."""
        try:
            task = self._task(index, source, options)
        except ZscapError as error:
            error.__context__ = error.__cause__ = None  # which hold on to the source's samples, as the traceback does
            task = Task(index, source_name(source), error=error.with_traceback(None))
        yield task
        for draft in range(1, options.num_drafts):
            yield replace(task, generator=torch.Generator().manual_seed(options.seed * 1_000_003 + draft))

    def _task(self, index: int, source: Source, options: DecodingOptions) -> Task:
        heard, prompt, nearest = self._hear(source), options.prompt, None
        if options.num_keywords:
            names = self._keywords(options.keywords).best(heard.embeddings[0], options.num_keywords)
            prompt = prompt_with(names, options)
        if options.store:
            nearest = self._store(options.store).nearest(heard, options.num_nearest)
            prompt = prompt_after(nearest.texts[: options.num_examples], prompt, options)
        state = self.language_model.begin(prompt, source)
        limit = self._max_new_tokens(state.tokens.shape[1], options)
        return Task(index, source_name(source), prompt, state, limit, heard, nearest)

    @torch.no_grad()
    def _decode(
        self, tasks: Iterator[Task], options: DecodingOptions, watch: list[Step] | None
    ) -> Iterator[tuple[Task, list[Hypothesis]]]:
        """The main loop. Each task's final beam, best first, once it has ended; the next task takes its place."""
        matches, classifies = self._guides(options)
        guidance, end_ids = self._guidance(options, matches), self.language_model.end_ids(options.end_tokens)
        propose = partial(self._propose, options=options, end_ids=end_ids, matches=matches, classifies=classifies)
        search = BeamSearch(options.beam_size, end_ids, options.draft_temperature)
        state: State | None = None
        while (newcomers := list(islice(tasks, self.batch_size - len(search.beams)))) or search.rows:
            search.begin(newcomers)  # a task with an error ends at once
            rows = search.rows
            if rows:
                states = [state, *(task.state for task in newcomers)]
                state = State.joined([each for each in states if each is not None])
                textless = self._textless(state)
                proposal = propose(state, rows, textless=textless)
                guided = guidance(options, proposal)
                log_p = guided.log_p.where(proposal.possible & ~textless, -torch.inf).log_softmax(-1)
                if watch is not None:
                    pieces = self.language_model.pieces
                    watch.append(Step(proposal.scorer.texts, proposal.log_p, log_p, list(guided.iterations), pieces))
                state = search.advance(state, proposal.cache, log_p, proposal.log_p)
            for task, beam in search.ended():
                if not beam and task.error is None:  # the search drops what is no number
                    task = replace(task, error=self._no_numbers(task, rows, proposal, options))
                yield task, beam

    def _guides(self, options: DecodingOptions) -> tuple[bool, bool]:
        """Whether matcher and classifier count."""
        matches = self.matcher is not None and options.uses_matcher and options.is_guided
        return matches, self.classifier is not None and options.classifier_scale > 0 and options.is_guided

    def _guidance(self, options: DecodingOptions, matches: bool) -> Guidance:
        """What bends a proposal, by the options' class; with whole words where the options ask for them."""
        guidance = guide.dispatch(type(options))
        if not (options.num_completed and matches):
            return guidance
        words = self._whole_words(options.words or default_words())
        return with_whole_words(guidance, words, options.matching_temperature)

    def _propose(
        self,
        state: State,
        rows: list[tuple[Task, tuple[int, ...]]],
        textless: Tensor,
        options: DecodingOptions,
        end_ids: list[int],
        matches: bool,
        classifies: bool,
    ) -> Proposal:
        """The language model's own next token, with what is needed to score its candidates."""
        lm = self.language_model
        texts = [lm.text(tokens, task.prompt if options.prompt_in_text else "") for task, tokens in rows]
        sources = torch.stack([task.embedding for task, _ in rows]) if matches else None
        scorer = CandidateScorer(self.scorer, texts, sources, classifies, strip=not options.prompt_in_text)
        logits, cache = lm.forward(state)
        log_p = logits.log_softmax(-1)
        possible = plausible(log_p.masked_fill(textless, -torch.inf), options.min_p)
        return Proposal(lm, state, logits, log_p, cache, possible, end_ids, scorer)

    def _textless(self, state: State) -> Tensor:
        """Where a caption would end before its first word: bool, shape = (rows, vocabulary)."""
        is_eos = torch.zeros(self.language_model.vocabulary_size, dtype=torch.bool, device=state.tokens.device)
        is_eos[self.language_model.eos_ids] = True
        return (state.generated == 0)[:, None] & is_eos

    def _no_numbers(self, task: Task, rows: list[tuple], proposal: Proposal, options: DecodingOptions) -> ZscapError:
        """Why a task has no token whose guided probability is a number."""
        ours = torch.tensor([each is task for each, _ in rows])
        changed = options.most_unusual()
        if not proposal.log_p[ours.to(proposal.log_p.device)].isfinite().any():
            return MissingWeights(f"{task.source}: {NO_NUMBERS.format('language model')}")
        if changed is None:
            return MissingWeights(f"{task.source}: {NO_NUMBERS.format('guided language model')}")
        name, value, usual = changed
        return InvalidOption(f"{name}={value}: guidance of {task.source} gives no finite numbers; go nearer to {usual}")

    def _caption(self, task: Task, beam: list[Hypothesis], options: DecodingOptions) -> Caption:
        """The hypothesis of a beam whose text, without the prompt, fits its source best; scored as a caption."""
        if task.error is not None:
            return Caption(task.source, error=task.error)
        continuations = [self.language_model.continuation(task.prompt, hypothesis.tokens) for hypothesis in beam]
        best = 0
        if self.matcher is not None and options.uses_matcher and len(beam) > 1:
            best = int(self.scorer.fit(continuations, task.embedding).argmax())
        chosen, continuation = beam[best], continuations[best]
        text = task.prompt + continuation if options.prompt_in_text else continuation.strip()
        likelihood = chosen.unguided / len(chosen.tokens)
        caption = Caption(task.source, task.prompt, text, continuation, chosen.tokens, log_likelihood=likelihood)
        return self._scored(caption, task.heard)

    @torch.no_grad()
    def _hear(self, source: Source) -> Heard | None:
        """What the matcher hears in a source; None without one."""
        if self.matcher is None:
            return None
        listens = hasattr(self.matcher, "listen")
        heard = self.matcher.listen(source) if listens else Heard(self.matcher.encode_source([source]))
        embeddings = finite(heard.embeddings, "matcher", source_name(source)).to(self.language_model.device)
        at = getattr(source, "start", 0.0)  # of a stretch in its recording
        events = (
            event._replace(start=round(event.start + at, 2), end=round(event.end + at, 2)) for event in heard.events
        )
        return heard._replace(embeddings=embeddings, events=tuple(events))

    def _scored(self, caption: Caption, heard: Heard | None) -> Caption:
        caption = replace(
            caption, classifier=None if self.classifier is None else self.scorer.probabilities([caption.text]).item()
        )
        if heard is None:
            return caption
        matching = self.scorer.fit([caption.text], heard.embeddings[0]).item()
        return replace(caption, matching=matching, confidence=heard.confidence, events=heard.events)
