"""Factors on the logits of single tokens: repeated, ending, forbidden (docs/METHODS.md, section 1), and of words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options import GuidanceOptions
from ..scoring import Proposal
from .words import repeated

REPETITION_WINDOW = 4  # tokens, prompt included


def finished(options: GuidanceOptions, proposal: Proposal, logits: Tensor) -> Tensor:
    """Guided logits, shape = (rows, vocabulary), penalised and then mixed with the unguided ones: log-probabilities."""
    log_p = penalised(options, proposal, logits).log_softmax(-1)
    if options.word_repetition_penalty > 1:
        again = repeated(proposal.scorer.texts, proposal.language_model).to(log_p.device)
        log_p = torch.where(again, log_p * options.word_repetition_penalty, log_p).log_softmax(-1)
    return options.fusion_scale * log_p + (1 - options.fusion_scale) * proposal.log_p


def penalised(options: GuidanceOptions, proposal: Proposal, logits: Tensor) -> Tensor:
    """New logits, shape = (rows, vocabulary), factor by factor as in the authors' released code."""
    state, end_id = proposal.state, proposal.end_ids[0]
    window = state.tokens[:, -REPETITION_WINDOW:]
    positions = torch.arange(-window.shape[1], 0, device=window.device) + state.tokens.shape[1]
    recent = window.where(positions >= state.padding[:, None], state.last)
    logits = logits.scatter(1, recent, _divided(logits.gather(1, recent), options.repetition_penalty))
    end = logits[:, end_id]
    logits[:, end_id] = torch.where(
        state.generated == 0, _divided(end, options.start_penalty), _divided(end, 1 / options.end_boost)
    )
    forbidden = list(options.forbidden_tokens)
    logits[:, forbidden] = _divided(logits[:, forbidden], options.forbidden_penalty)
    return logits


def plausible(log_p0: Tensor, min_p: float) -> Tensor:
    """Tokens that may be chosen at all: at least `min_p` times as probable as the most probable, unguided.

    Guidance moves a whole distribution, and with it tokens that make no word; this keeps the text in the language
    (min-p of arXiv 2407.01082; the plausibility constraint of contrastive decoding, arXiv 2210.15097).

    Args:
        log_p0: Tensor, shape = (rows, vocabulary); so is the bool result.
    """
    return log_p0 >= log_p0.amax(-1, keepdim=True) + math.log(min_p) if min_p > 0 else torch.ones_like(log_p0).bool()


def _divided(logits: Tensor, factor: float) -> Tensor:
    """Less likely for a factor above 1 whatever the sign: positive logits divided, the others multiplied."""
    return torch.where(logits > 0, logits / factor, logits * factor)
