"""Factors on the logits of single tokens: repeated, ending, forbidden (METHODS 1, step 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options import GuidanceOptions

REPETITION_WINDOW = 4  # tokens, prompt included


def penalise(
    logits: Tensor, tokens: Tensor, padding: Tensor, first: Tensor, end_id: int, options: GuidanceOptions
) -> Tensor:
    """New logits with the penalties of `options`, factor by factor as in the authors' released code.

    logits : Tensor, shape = (rows, vocabulary)
    tokens : Tensor, shape = (rows, length), prompt included
    padding : Tensor, shape = (rows,), how many tokens at the left of each row are no part of its text
    first : bool Tensor, shape = (rows,), whether it is the first token to be generated
    """
    window = tokens[:, -REPETITION_WINDOW:]
    places = torch.arange(tokens.shape[1] - window.shape[1], tokens.shape[1], device=tokens.device)
    recent = window.where(places >= padding[:, None], tokens[:, -1:])
    logits = logits.scatter(1, recent, _divided(logits.gather(1, recent), options.repetition_penalty))
    end = logits[:, end_id]
    logits[:, end_id] = torch.where(first, _divided(end, options.start_penalty), _divided(end, 1 / options.end_boost))
    forbidden = list(options.forbidden_tokens)
    logits[:, forbidden] = _divided(logits[:, forbidden], options.forbidden_penalty)
    return logits


def plausible(log_p0: Tensor, min_p: float) -> Tensor:
    """Tokens that may be chosen at all: at least `min_p` times as probable as the most probable, unguided.

    Guidance moves a whole distribution, and with it tokens that make no word; this keeps the text in the language
    (min-p of arXiv 2407.01082; the plausibility constraint of contrastive decoding, arXiv 2210.15097).

    log_p0 : Tensor, shape = (rows, vocabulary); so is the bool result
    """
    return log_p0 >= log_p0.amax(-1, keepdim=True) + math.log(min_p) if min_p > 0 else torch.ones_like(log_p0).bool()


def _divided(logits: Tensor, factor: float) -> Tensor:
    """Less likely for a factor above 1 whatever the sign: positive logits divided, the others multiplied."""
    return torch.where(logits > 0, logits / factor, logits * factor)
