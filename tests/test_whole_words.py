"""Words of several tokens are candidates from their first token on, and are finished once begun."""

import math

import pytest
import tiny
import torch

import zscap
from zscap.guidance.words import LIKELY, WholeWords, default_words
from zscap.scoring import Remembered


class Hears:
    """A matcher for which a text fits as far as it has the word that is the source, and nothing fits a part of it."""

    def encode_source(self, sources):
        return torch.tensor([[1.0, 0.0]]).expand(len(sources), 2)

    def encode_text(self, texts):
        fits = torch.tensor([0.9 if "catwalk" in text else 0.1 for text in texts])
        return torch.stack([fits, (1 - fits**2).sqrt()], dim=1)


def captioner(tmp_path, kind="gpt2", **options):
    options = {"prompt": "Audio of a", "num_candidates": 400, "temperature": 0.05, "kappa": 0.3} | options
    options = zscap.ProximalOptions(prompt_in_text=False, words=("catwalk", "dog"), max_new_tokens=12, **options)
    return zscap.Captioner(tiny.language_model(tmp_path, kind), matcher=Hears(), options=options)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_word_of_several_tokens_is_written(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("zscap.guidance.words.LIKELY", -math.inf)  # random weights know no word
    without, with_words = (captioner(tmp_path, kind, num_completed=number) for number in (0, 5))
    assert "catwalk" not in without("a clip").text
    caption = with_words("a clip")
    assert "catwalk" in caption.text
    assert with_words(["a clip", "another"])[1].tokens == caption.tokens


def test_a_word_that_the_language_model_would_not_finish_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("zscap.guidance.words.LIKELY", 0.0)  # only the most probable token goes on
    steps = captioner(tmp_path, num_completed=5).steps("a clip")
    assert all(step.iterations[0].matching.nan_to_num().max() < 0.5 for step in steps)


@pytest.fixture
def words(tmp_path):
    return WholeWords(
        ("catwalk", "dog", "windy", "rains"), tiny.language_model(tmp_path), Remembered(Hears().encode_text)
    )


def test_words_of_one_token_need_no_help(words):
    assert words.words == ["catwalk"]  # the tokenizer knows " dog", and " wind" and " rain" tell the others
    assert len(words.fit(torch.tensor([[1.0, 0.0]]))[0]) == 1


def test_of_likely_words_the_one_that_fits_best_goes_on(words):
    source, fit = torch.tensor([1.0, 0.0]), torch.tensor([0.9])
    beginning = "cat"
    (token,) = words.following[beginning]
    log_p = torch.full((400,), -9.0)
    log_p[token] = 0.0
    found = lambda log_p=log_p, fit=fit: words.finishing(beginning, log_p, fit, source)  # noqa: E731
    assert found() == (0, token)
    left = fit.clone()
    words.leave_out("a cat and a dog", left)
    assert found(fit=left) == (0, token)
    words.leave_out("two catwalks and a", left)
    assert found(fit=left) is None
    assert found(fit=torch.tensor([0.05])) is None  # the beginning fits as well by itself
    unlikely = log_p.clone()
    unlikely[token + 1] = log_p[token] - LIKELY + 0.1
    assert found(log_p=unlikely) is None
    assert words.finishing("", log_p, fit, source) is None


def test_our_own_words_are_those_of_our_sounds():
    words = default_words()
    assert len(set(words)) == len(words) > 500
    assert all(word.isalpha() and word.islower() for word in words)
    assert {"siren", "rooster", "meowing", "bleats", "chainsaw"} <= set(words)
