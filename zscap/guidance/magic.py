"""MAGIC search: a candidate's probability, novelty and match, added up (METHODS 3; arXiv 2205.02655, 2311.08396)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..options import MagicOptions
from .proposal import Proposal


def magic(proposal: Proposal, options: MagicOptions) -> Tensor:
    """Log-probabilities of the next token, shape (rows, vocabulary), that rank the candidates by their scores.

    score(c) = (1 - alpha) p0(c) - alpha max_j cos(h_c, h_j) + beta softmax(logit_scale cos(a, text(c)))
    + classifier_scale P(text(c)), over the `num_candidates` most probable tokens c. h are the language model's hidden
    states of the last layer, j the tokens so far, prompt included.

    The score of a token that ends the text is multiplied by end_penalty times the number of tokens generated so far,
    which holds the end back for 1 / end_penalty tokens and favours it after them. The authors' released code means to
    do so, but looks the ending tokens up in a list sorted in another order than the scores', and so often penalises
    another candidate instead.
    """
    look = proposal.look(proposal.log_p, proposal.most_probable(proposal.log_p, options.num_candidates)[1])
    score = (1 - options.alpha) * proposal.log_p.gather(1, look.candidates).exp()
    if options.alpha > 0:
        score = score - options.alpha * _sameness(proposal, look.candidates)
    if look.matching is not None:
        score = score + options.beta * (options.logit_scale * look.matching).softmax(-1)
    if look.probability is not None:
        score = score + options.classifier_scale * look.probability
    ends = torch.isin(look.candidates, torch.tensor(proposal.end_ids, device=score.device))
    score = torch.where(ends, score * options.end_penalty * proposal.generated[:, None], score)
    return (
        torch.full_like(proposal.log_p, -torch.inf)
        .scatter(1, look.candidates, score.to(proposal.log_p))
        .log_softmax(-1)
    )


def _sameness(proposal: Proposal, candidates: Tensor) -> Tensor:
    """Greatest cosine of each candidate's hidden state with those of the text before it, shape (rows, k)."""
    lm, state = proposal.language_model, proposal.state
    k = candidates.shape[1]
    before = normalize(lm.hidden(state.tokens, [], state.padding), dim=-1)
    cache = [(keys.repeat_interleave(k, 0), values.repeat_interleave(k, 0)) for keys, values in proposal.cache]
    after = lm.hidden(candidates.reshape(-1, 1), cache, state.padding.repeat_interleave(k))
    cosines = normalize(after, dim=-1).view(*candidates.shape, -1) @ before.mT
    filling = torch.arange(state.tokens.shape[1], device=candidates.device) < state.padding[:, None]
    return cosines.masked_fill(filling[:, None], -torch.inf).amax(-1)
