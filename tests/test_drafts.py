"""Several captions of a source, the best of which is kept."""

import pytest
import tiny
import torch

import zscap
from zscap.decoding import rank
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
    assert all(a <= b <= c for a, b, c in zip(*ranks.values(), strict=True))  # the first drafts are among the more
    assert sum(ranks[16]) > sum(ranks[1]) + 0.5
    assert captioner(SOURCES, num_drafts=4) == captioner(SOURCES, num_drafts=4)
    assert captioner(SOURCES, num_drafts=4) != captioner(SOURCES, num_drafts=4, seed=1)


def test_drafts_are_drawn_from_the_distribution(captioner):
    log_p = torch.tensor([[0.5, 0.3, 0.15, 0.05, 0.0]]).log()
    state = captioner.language_model.begin(OPTIONS.prompt)
    search = BeamSearch(beam_size=1, end_ids=[0], temperature=0.5)
    search.begin([Task(0, "", state, 5, drawing=torch.Generator().manual_seed(0))])
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[search._drawn(log_p).argmax()] += 1
    expected = (log_p[0] / 0.5).softmax(-1)
    torch.testing.assert_close(counts / 4000, expected, atol=0.025, rtol=0)


def test_drafts_and_beams_exclude_each_other():
    with pytest.raises(zscap.InvalidOption, match="num_drafts=3 with beam_size=2: one of them must be 1"):
        zscap.SteeringOptions(num_drafts=3, beam_size=2)


def test_without_guides_the_most_probable_draft_is_kept(captioner):
    alone = zscap.Captioner(captioner.language_model, options=OPTIONS)
    one, best = alone("clip"), alone("clip", num_drafts=30)
    assert best.log_likelihood >= one.log_likelihood
