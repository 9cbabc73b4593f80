"""Penalties on hand-set logits: a penalised token becomes less likely whatever the sign of its logit."""

import torch

from zscap import SteeringOptions
from zscap.guidance.penalties import penalised
from zscap.language_models.causal import State

LOGITS = torch.tensor([[2.0, -2.0, 1.0, -1.0, 4.0, 0.5], [1.0, 1.0, -1.0, 2.0, -4.0, 0.5]])
END = 4


def state(tokens, generated=(1, 1), padding=(0, 0)):
    return State(torch.tensor(tokens), torch.tensor(padding), [], torch.tensor(generated))


def test_end_token_is_held_back_first_and_boosted_later():
    tokens = [[5, 5, 5, 5, 5], [5, 5, 5, 5, 5]]
    options = SteeringOptions(start_penalty=2.0, end_boost=1.25)
    before = LOGITS.clone()
    for generated, expected in (((0, 3), [2.0, -3.2]), ((3, 0), [5.0, -8.0])):
        logits = penalised(LOGITS, state(tokens, generated), END, options)
        torch.testing.assert_close(logits[:, END], torch.tensor(expected))
    assert torch.equal(LOGITS, before)


def test_repeated_and_forbidden_tokens():
    tokens = [[3, 0, 0, 1, 2], [0, 1, 1, 1, 1]]  # the first column lies outside the window of four
    options = SteeringOptions(repetition_penalty=2.0, forbidden_tokens=(2, 5), forbidden_penalty=10.0, end_boost=1.0)
    expected = torch.tensor([[1.0, -4.0, 0.05, -1.0, 4.0, 0.05], [1.0, 0.5, -10.0, 2.0, -4.0, 0.05]])
    torch.testing.assert_close(penalised(LOGITS, state(tokens), END, options), expected)


def test_padding_is_not_a_repeated_token():
    options = SteeringOptions(repetition_penalty=2.0)
    padded = penalised(LOGITS, state([[0, 0, 1, 2], [0, 3, 1, 2]], padding=(2, 1)), END, options)
    for row, tokens in enumerate(([1, 2], [3, 1, 2])):
        alone = penalised(LOGITS[row : row + 1], state([tokens], [1], [0]), END, options)
        torch.testing.assert_close(padded[row], alone[0])
