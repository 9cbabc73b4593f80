"""Penalties on hand-set logits: a penalised token becomes less likely whatever the sign of its logit."""

import torch

from zscap import SteeringOptions
from zscap.guidance.penalties import penalise

LOGITS = torch.tensor([[2.0, -2.0, 1.0, -1.0, 4.0, 0.5], [1.0, 1.0, -1.0, 2.0, -4.0, 0.5]])
END = 4
NONE = torch.tensor([0, 0])  # no padding
LATER = torch.tensor([False, False])


def test_end_token_is_held_back_first_and_boosted_later():
    tokens = torch.tensor([[5, 5, 5, 5, 5], [5, 5, 5, 5, 5]])
    options = SteeringOptions(start_penalty=2.0, end_boost=1.25)
    before = LOGITS.clone()
    first = torch.tensor([True, False])
    torch.testing.assert_close(penalise(LOGITS, tokens, NONE, first, END, options)[:, END], torch.tensor([2.0, -3.2]))
    torch.testing.assert_close(penalise(LOGITS, tokens, NONE, ~first, END, options)[:, END], torch.tensor([5.0, -8.0]))
    assert torch.equal(LOGITS, before)


def test_repeated_and_forbidden_tokens():
    tokens = torch.tensor([[3, 0, 0, 1, 2], [0, 1, 1, 1, 1]])  # the first column lies outside the window of four
    options = SteeringOptions(repetition_penalty=2.0, forbidden_tokens=(2, 5), forbidden_penalty=10.0, end_boost=1.0)
    penalised = penalise(LOGITS, tokens, NONE, LATER, END, options)
    expected = torch.tensor([[1.0, -4.0, 0.05, -1.0, 4.0, 0.05], [1.0, 0.5, -10.0, 2.0, -4.0, 0.05]])
    torch.testing.assert_close(penalised, expected)


def test_padding_is_not_a_repeated_token():
    options = SteeringOptions(repetition_penalty=2.0)
    filled = penalise(LOGITS, torch.tensor([[0, 0, 1, 2], [0, 3, 1, 2]]), torch.tensor([2, 1]), LATER, END, options)
    for row, tokens in enumerate(([1, 2], [3, 1, 2])):
        alone = penalise(LOGITS[row : row + 1], torch.tensor([tokens]), NONE[:1], LATER[:1], END, options)
        assert torch.equal(filled[row], alone[0])
