"""Several captions of a source, ranked whole; and rewritten by a language model that is shown the best."""

import pytest
import tiny
import torch

import zscap
from studies.refining import refine
from zscap.caption import rank
from zscap.search import BeamSearch, Task

SOURCES = [f"clip {number}" for number in range(5)]
OPTIONS = zscap.SteeringOptions(num_candidates=20, num_iterations=0, max_new_tokens=5, classifier_scale=0.3)


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    language_model = tiny.language_model(tmp_path_factory.mktemp("gpt2"))
    guides = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
    return zscap.Captioner(language_model, **guides, options=OPTIONS, batch_size=7)


@pytest.mark.parametrize("options", [OPTIONS, zscap.MagicOptions(num_candidates=20, max_length=60)])
def test_more_drafts_rank_higher_and_the_batch_does_not_matter(captioner, options):
    captioner = zscap.Captioner(
        captioner.language_model, matcher=captioner.matcher, classifier=captioner.classifier, options=options
    )
    ranks = {}
    for number in (1, 4, 16):
        captions = captioner(SOURCES, num_drafts=number)
        assert [captioner(source, num_drafts=number).tokens for source in SOURCES] == [c.tokens for c in captions]
        ranks[number] = [rank(caption, options) for caption in captions]
    for one, four, sixteen in zip(*ranks.values(), strict=True):  # the first drafts are among the more
        assert one <= four + 1e-5 and four <= sixteen + 1e-5
    assert sum(ranks[16]) > sum(ranks[1]) + 0.5
    again, other = (captioner(SOURCES, num_drafts=16, seed=seed) for seed in (0, 1))
    assert [c.tokens for c in again] == [c.tokens for c in captions] != [c.tokens for c in other]


def test_drafts_are_drawn_from_the_distribution(captioner):
    log_p = torch.tensor([[0.5, 0.3, 0.15, 0.05, 0.0]]).log()
    state = captioner.language_model.begin(OPTIONS.prompt)
    search = BeamSearch(beam_size=1, end_ids=[0], temperature=0.5)
    search.begin([Task(0, "clip", "", state, 5, generator=torch.Generator().manual_seed(0))])
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[search._with_noise(log_p).argmax()] += 1
    expected = (log_p[0] / 0.5).softmax(-1)
    torch.testing.assert_close(counts / 4000, expected, atol=0.025, rtol=0)


def test_drafts_and_beams_exclude_each_other():
    with pytest.raises(zscap.InvalidOption, match="num_drafts=3 with beam_size=2: one of them must be 1"):
        zscap.SteeringOptions(num_drafts=3, beam_size=2)


def test_without_guides_the_most_probable_draft_is_kept(captioner):
    alone = zscap.Captioner(captioner.language_model, options=OPTIONS)
    one, best = alone("clip"), alone("clip", num_drafts=30, draft_temperature=1.0)
    assert best.log_likelihood > one.log_likelihood - 1e-4  # the first of them, which rounds with the batch


def test_drafts_come_best_first(captioner):
    drafts = captioner.drafts("clip 1", num_drafts=6)
    ranks = [rank(caption, OPTIONS) for caption in drafts]
    assert len(drafts) == 6 and ranks == sorted(ranks, reverse=True)
    assert drafts[0].tokens == captioner("clip 1", num_drafts=6).tokens
    (scored,) = captioner.score("clip 1", [drafts[2].text])
    assert (scored.matching, scored.classifier) == pytest.approx((drafts[2].matching, drafts[2].classifier), abs=1e-5)


def test_a_writer_is_shown_the_best_and_its_lines_are_ranked(captioner):
    requests = []

    def writer(prompt, seed):
        requests.append((prompt, seed))
        return f'1. a dog barks {seed}\n- a dog barks {seed}\n\n"rain on a roof {seed}"'

    drafts = captioner.drafts("clip 2", num_drafts=4)
    best = refine(captioner, "clip 2", writer, rounds=2, keep=3, number=2, kind="sound", num_drafts=4)
    texts = [caption.text for caption in best]
    expected = {f"{text} {seed}" for seed in (0, 1) for text in ("a dog barks", "rain on a roof")}
    assert expected < set(texts) and len(texts) == len(set(texts)) == len({c.text for c in drafts} | expected)
    assert rank(best[0], OPTIONS) > rank(drafts[0], OPTIONS) - 1e-5
    assert [seed for _, seed in requests] == [0, 1]
    shown = [line for line in requests[0][0].splitlines() if line[:1] in "-0123456789" and line]
    assert [line.split(" ", 1)[1] for line in shown] == [c.text for c in drafts[:3]][::-1]
    assert all(f"{rank(c, OPTIONS):.3f}" in requests[0][0] for c in drafts[:3])


def test_what_captions_are_ranked_by():
    made = lambda **values: zscap.Caption("clip", **values)  # noqa: E731
    options = zscap.SteeringOptions(classifier_scale=0.5)
    assert rank(made(log_likelihood=-1.0), options) > rank(made(log_likelihood=-2.0), options)
    assert rank(made(log_likelihood=-9.0), options) > rank(made(), options)  # of unknown likelihood: last
    assert rank(made(matching=0.2, classifier=0.4), options) == pytest.approx(0.4)
    fluent = made(classifier=0.1, log_likelihood=-1.0), made(classifier=0.9, log_likelihood=-2.0)
    assert rank(fluent[0], options.override(classifier_scale=0)) > rank(fluent[1], options.override(classifier_scale=0))
    deaf = options.override(matching_scale=0)
    assert rank(made(matching=0.9, classifier=0.1), deaf) < rank(made(matching=0.1, classifier=0.2), deaf)


def test_magics_drafts_follow_its_scores(captioner):
    """Scores are shares, and drafts are drawn from them, not from a nearly flat softmax of them."""
    options = zscap.MagicOptions(num_candidates=20, num_keywords=0, beta=0.5)
    magic = zscap.Captioner(captioner.language_model, matcher=captioner.matcher, options=options)
    (first, *_) = magic.steps("clip 1", max_new_tokens=1)
    (iteration,) = first.iterations
    score = first.before.gather(1, iteration.candidates).exp() + 0.5 * (10 * iteration.matching).softmax(-1)
    is_end = torch.isin(iteration.candidates, torch.tensor(magic.language_model.end_ids(options.end_tokens)))
    score = score.where(~is_end, 0)
    torch.testing.assert_close(first.after.gather(1, iteration.candidates).exp(), score / score.sum())
