"""MAGIC search: probability, novelty and match, added up (docs/METHODS.md, 3; arXiv 2205.02655, 2311.08396)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..options import MagicOptions
from ..scoring import Guided, Proposal


def search(options: MagicOptions, proposal: Proposal) -> Guided:
    """The next token's probabilities in proportion to the candidates' scores.

    score(c) = (1 - alpha) p0(c) - alpha max_j cos(h_c, h_j) + beta softmax(logit_scale cos(a, text(c)))
    + classifier_scale P(text(c)), over the `num_candidates` most probable tokens c. h are the language model's hidden
    states of the last layer, j the tokens so far, prompt included.

    The score of a token that ends the text is multiplied by end_penalty times the number of tokens generated so far,
    which holds the end back for 1 / end_penalty tokens and favours it after them. The authors' released code means to
    do so, but looks the ending tokens up in a list sorted in another order than the scores', and so often penalises
    another candidate instead.
    """
    iteration = proposal.score(proposal.log_p, proposal.most_probable(proposal.log_p, options.num_candidates)[1])
    candidates = iteration.candidates
    score = (1 - options.alpha) * proposal.log_p.gather(1, candidates).exp()
    if options.alpha > 0:
        score = score - options.alpha * _sameness(proposal, candidates)
    if iteration.matching is not None:
        # A candidate that is not possible has no cosine, and no share.
        cosines = iteration.matching.nan_to_num(nan=-torch.inf)
        score = score + options.beta * (options.logit_scale * cosines).softmax(-1)
    if iteration.probability is not None:
        score = score + options.classifier_scale * iteration.probability.nan_to_num(nan=0)
    ends = torch.isin(candidates, torch.tensor(proposal.end_ids, device=candidates.device))
    score = torch.where(ends, score * options.end_penalty * proposal.state.generated[:, None], score)
    # Scores are shares of the whole already, but for the novelty's, which may be under 0.
    share = (score - score.amin(-1, keepdim=True).clamp(max=0)).to(proposal.log_p)
    tiny = torch.finfo(share.dtype).tiny
    log_p = torch.full_like(proposal.log_p, -torch.inf).scatter(1, candidates, share.clamp(min=tiny).log())
    return Guided(log_p, (iteration,))


def _sameness(proposal: Proposal, candidates: Tensor) -> Tensor:
    """Greatest cosine of each candidate's hidden state with those of the text before it, shape = (rows, k)."""
    lm, state = proposal.language_model, proposal.state
    k = candidates.shape[1]
    before = normalize(lm.hidden(state.tokens, [], state.padding), dim=-1)
    cache = [(keys.repeat_interleave(k, 0), values.repeat_interleave(k, 0)) for keys, values in proposal.cache]
    after = lm.hidden(candidates.reshape(-1, 1), cache, state.padding.repeat_interleave(k))
    cosines = normalize(after, dim=-1).view(*candidates.shape, -1) @ before.mT
    padding = torch.arange(state.tokens.shape[1], device=candidates.device) < state.padding[:, None]
    return cosines.masked_fill(padding[:, None], -torch.inf).amax(-1)
