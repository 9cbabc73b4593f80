"""Penalties on hand-set logits: a penalised token becomes less likely whatever the sign of its logit."""

import torch

from zscap import SteeringOptions
from zscap.penalties import penalise

LOGITS = torch.tensor([[2.0, -2.0, 1.0, -1.0, 4.0, 0.5], [1.0, 1.0, -1.0, 2.0, -4.0, 0.5]])
END = 4


def test_end_token_is_held_back_first_and_boosted_later():
    tokens = torch.tensor([[5, 5, 5, 5, 5], [5, 5, 5, 5, 5]])
    options = SteeringOptions(start_penalty=2.0, end_boost=1.25)
    before = LOGITS.clone()
    torch.testing.assert_close(penalise(LOGITS, tokens, 0, END, options)[:, END], torch.tensor([2.0, -8.0]))
    torch.testing.assert_close(penalise(LOGITS, tokens, 1, END, options)[:, END], torch.tensor([5.0, -3.2]))
    assert torch.equal(LOGITS, before)


def test_repeated_and_forbidden_tokens():
    tokens = torch.tensor([[3, 0, 0, 1, 2], [0, 1, 1, 1, 1]])  # the first column lies outside the window of four
    options = SteeringOptions(repetition_penalty=2.0, forbidden_tokens=(2, 5), forbidden_penalty=10.0, end_boost=1.0)
    penalised = penalise(LOGITS, tokens, 3, END, options)
    expected = torch.tensor([[1.0, -4.0, 0.05, -1.0, 4.0, 0.05], [1.0, 0.5, -10.0, 2.0, -4.0, 0.05]])
    torch.testing.assert_close(penalised, expected)
