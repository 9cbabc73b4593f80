"""Penalties on hand-set logits: a penalised token becomes less likely whatever the sign of its logit."""

from types import SimpleNamespace

import pytest
import tiny
import torch

import zscap
from zscap import SteeringOptions
from zscap.guidance import words
from zscap.guidance.penalties import penalised
from zscap.language_model import State

LOGITS = torch.tensor([[2.0, -2.0, 1.0, -1.0, 4.0, 0.5], [1.0, 1.0, -1.0, 2.0, -4.0, 0.5]])
END = 4


def proposal(tokens, generated=(1, 1), padding=(0, 0)):
    state = State(torch.tensor(tokens), torch.tensor(padding), [], torch.tensor(generated))
    return SimpleNamespace(state=state, end_ids=[END])


def test_end_token_is_held_back_first_and_boosted_later():
    tokens = [[5, 5, 5, 5, 5], [5, 5, 5, 5, 5]]
    options = SteeringOptions(start_penalty=2.0, end_boost=1.25)
    before = LOGITS.clone()
    for generated, expected in (((0, 3), [2.0, -3.2]), ((3, 0), [5.0, -8.0])):
        logits = penalised(options, proposal(tokens, generated), LOGITS)
        torch.testing.assert_close(logits[:, END], torch.tensor(expected))
    assert torch.equal(LOGITS, before)


def test_repeated_and_forbidden_tokens():
    tokens = [[3, 0, 0, 1, 2], [0, 1, 1, 1, 1]]  # the first column lies outside the window of four
    options = SteeringOptions(repetition_penalty=2.0, forbidden_tokens=(2, 5), forbidden_penalty=10.0, end_boost=1.0)
    expected = torch.tensor([[1.0, -4.0, 0.05, -1.0, 4.0, 0.05], [1.0, 0.5, -10.0, 2.0, -4.0, 0.05]])
    torch.testing.assert_close(penalised(options, proposal(tokens), LOGITS), expected)


def test_padding_is_not_a_repeated_token():
    options = SteeringOptions(repetition_penalty=2.0)
    padded = penalised(options, proposal([[0, 0, 1, 2], [0, 3, 1, 2]], padding=(2, 1)), LOGITS)
    for row, tokens in enumerate(([1, 2], [3, 1, 2])):
        alone = penalised(options, proposal([tokens], [1], [0]), LOGITS[row : row + 1])
        torch.testing.assert_close(padded[row], alone[0])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("snoring", "snores", True),
        ("cry", "crying", True),
        ("pig", "piggy", True),
        ("bees", "bee", True),
        ("thunder", "thunderous", True),
        ("water", "watch", False),
        ("dish", "dishwasher", False),
        ("train", "tracks", False),
    ],
)
def test_words_of_one_stem_are_alike(one, other, same):
    assert words.alike(words.stem(one), words.stem(other)) is same


def test_a_word_that_the_text_has_is_held_back(tmp_path):
    lm = tiny.language_model(tmp_path)
    ids = {piece: token for token, piece in enumerate(lm.pieces)}
    table = words.repeated(["a dog and the dogs", "the"], lm)
    assert table[0, ids[" dog"]] and not table[0, ids["a"]] and not table[0, ids[" and"]]
    assert not table[1].any()
    log_p = {}
    for penalty in (1.0, 5.0):
        options = zscap.ProximalOptions(word_repetition_penalty=penalty, prompt="a dog", max_new_tokens=1)
        log_p[penalty] = zscap.Captioner(lm, options=options).steps("nothing")[0].after[0, ids[" dog"]]
    assert log_p[5.0] < log_p[1.0] - 1
