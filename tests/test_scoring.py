"""What saves work and must not change a caption: texts scored once, and never where the classifier cannot matter."""

import pytest
import tiny
import torch

import zscap
from zscap.guidance import target
from zscap.scoring import CandidateScorer, Remembered, Scorer

OPTIONS = zscap.SteeringOptions(num_candidates=60, step_size=1.0, num_iterations=4, max_new_tokens=6)
SOURCES = [f"clip {number}" for number in range(12)]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("gpt2"))


def captioner(language_model, batch_size=5):
    guides = {
        "matcher": tiny.HashMatcher(dim=6),
        "classifier": tiny.HashClassifier(),
    }  # few dimensions: cosines far apart
    return zscap.Captioner(language_model, **guides, options=OPTIONS, batch_size=batch_size)


def test_texts_are_asked_about_once_across_batches_and_calls(language_model):
    made = captioner(language_model)
    made(SOURCES[:7])
    made(SOURCES[7:], beam_size=2)
    for guide in (made.matcher, made.classifier):
        assert len(guide.asked) == len(set(guide.asked)) > 100
    assert made.scorer.embeddings.computed == len(made.matcher.asked) < made.scorer.embeddings.asked / 2


@pytest.mark.parametrize("temperature", [0.01, 0.002])
def test_skipping_the_hopeless_changes_no_caption(language_model, monkeypatch, temperature):
    sparing, asking = captioner(language_model), captioner(language_model)
    few = sparing(SOURCES, temperature=temperature)
    monkeypatch.setattr(target, "NEGLIGIBLE", 1e-300)  # nothing lies so far behind
    all_asked = asking(SOURCES, temperature=temperature)
    assert [c.tokens for c in few] == [c.tokens for c in all_asked]
    assert len(sparing.classifier.asked) < 0.8 * len(asking.classifier.asked)
    assert sorted(sparing.matcher.asked) == sorted(asking.matcher.asked)


def test_what_is_skipped_could_gain_nothing(language_model):
    """The bound itself: with the classifier at its most partial, a skipped text stays under its share."""
    made = captioner(language_model)
    for step in made.steps("clip 3"):
        for iteration in step.iterations:
            skipped = iteration.probability.isnan()
            scores = iteration.matching + OPTIONS.classifier_scale * torch.where(skipped, 1.0, 0.0)
            share = (scores.double() / OPTIONS.temperature).softmax(-1)
            assert skipped.any() and share[skipped].max() < target.NEGLIGIBLE
            ((_, wanted),) = target.targets_of(OPTIONS, iteration)
            assert (wanted[skipped] == 0).all()


def test_losses_and_a_lone_classifier_skip_nothing(language_model):
    made = captioner(language_model)
    (step, *_) = made.steps("clip 1", combine="losses", classifier_scale=0.6)
    assert not step.iterations[0].probability.isnan().any()
    alone = zscap.Captioner(language_model, classifier=tiny.HashClassifier(), options=OPTIONS)
    (step, *_) = alone.steps("clip 1")
    assert not step.iterations[0].probability.isnan().any()


def test_impossible_candidates_are_not_asked_about(language_model):
    scorer = Scorer(language_model, tiny.HashMatcher(), tiny.HashClassifier())
    sources = tiny.HashMatcher().encode_source(["clip"])
    candidates = CandidateScorer(scorer, ["Audio of a"], sources, classifies=True, strip=False)
    possible = torch.tensor([[True, False, True]])
    matching, probability = candidates(torch.tensor([[5, 6, 7]]), possible, torch.inf)
    assert torch.equal(matching.isnan(), ~possible) and probability[0, 1].isnan()
    assert scorer.embeddings.asked == 2
    candidates(torch.tensor([[7, 5]]), torch.tensor([[True, True]]), torch.inf)
    assert scorer.embeddings.asked == 2  # looked up by token id


def test_what_is_remembered_is_bounded_and_the_last_used_stays():
    asked = []
    once = Remembered(lambda texts: asked.extend(texts) or torch.tensor([[float(len(t))] for t in texts]), limit=3)
    assert once(["a", "bb", "a"]).tolist() == [[1], [2], [1]] and asked == ["a", "bb"]
    once(["ccc", "dddd"])  # four: the one used longest ago goes
    once(["a"])
    assert asked == ["a", "bb", "ccc", "dddd"]
    once(["bb"])
    assert asked[-1] == "bb" and (once.asked, once.computed) == (7, 5)
    assert once(["v", "w", "x", "y", "z"]).shape == (5, 1)  # more at once than are kept


def test_a_source_that_ends_makes_room_for_the_next(language_model):
    """Rows of different lengths share a batch, and it stays full until the sources run out."""
    made = captioner(language_model, batch_size=4)
    sizes, forward = [], language_model.forward

    def watched(state, cache=None):
        if not torch.is_grad_enabled():
            sizes.append((len(state), len(set(state.padding.tolist()))))
        return forward(state, cache)

    try:
        language_model.forward = watched
        captions = made(SOURCES, end_boost=1.6)
    finally:
        del language_model.forward
    lengths = [len(caption.tokens) for caption in captions]
    assert len(set(lengths)) > 1 and max(different for _, different in sizes) > 1
    rows = [number for number, _ in sizes]
    assert rows == sorted(rows, reverse=True) and rows[0] == 4  # full until no source is left
    assert sum(number < 4 for number in rows) <= 2 * max(lengths)
    assert sum(rows) == 2 * sum(lengths)  # a forward for p0 and one after the last iteration, per token
    for source, caption in zip(SOURCES, captions, strict=True):
        assert captioner(language_model)(source, end_boost=1.6).tokens == caption.tokens


def test_sources_are_read_as_they_are_needed(language_model):
    made, read = captioner(language_model, batch_size=2), []

    def endless():
        for number in range(1000):
            read.append(number)
            yield f"clip {number}"

    stream = made.stream(endless())
    first = next(stream)
    assert first.source == "clip 0" and len(read) <= 12
