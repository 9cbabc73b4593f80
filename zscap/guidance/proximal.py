"""Proximal steering: the distribution that gradient steering only approaches, in closed form (docs/METHODS.md, 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options import ProximalOptions
from .penalties import finished
from .proposal import Proposal
from .target import scored, targets_of
from .whole_words import read_whole

NEWTON_STEPS = 50  # convergence is monotone and in the end quadratic: about ten are taken


def guide(options: ProximalOptions, proposal: Proposal) -> Tensor:
    """Log-probabilities of the next token, shape = (rows, vocabulary): no second forward, no backward.

    Minimises, for each row by itself, sum_g weight_g CE(target_g, p) + kappa KL(p || p0) over distributions p, the
    objective of gradient steering. Without a guide p is p0.
    """
    if not proposal.scorer.has_guides:
        return finished(proposal.logits, proposal, options)
    proposal = read_whole(proposal, options)
    iteration = scored(proposal, proposal.log_p, options)
    target = torch.zeros_like(proposal.log_p)
    for weight, share in targets_of(iteration, options):
        target.scatter_add_(1, iteration.candidates, weight * share.to(target))
    return finished(solve(proposal.log_p, target, options.kappa), proposal, options)


def solve(log_p0: Tensor, target: Tensor, kappa: float) -> Tensor:
    """The distribution p that minimises -sum_c target_c log p_c + kappa KL(p || p0), row by row.

    With W the Lambert function and m the one number that makes p sum to one,
    p_c = p0_c exp(W(target_c exp(m) / (kappa p0_c)) - m). Where the target is 0, W is 0: all those tokens shrink alike.

    Args:
        log_p0: Tensor, shape = (rows, vocabulary), log-probabilities.
        target: Tensor, shape = (rows, vocabulary), 0 or more, of any sum; 0 almost everywhere is usual.
        kappa: trust in p0, greater than 0; towards infinity p becomes p0.

    Returns:
        Tensor, shape = (rows, vocabulary), log-probabilities in log_p0's dtype; computed in float64.
    """
    wanted, tokens = target.topk(max(1, int((target > 0).sum(-1).max())))
    before = log_p0.gather(1, tokens).double()
    others = log_p0.scatter(1, tokens, -torch.inf).double().logsumexp(-1, keepdim=True)
    ratio = wanted.double().log() - before - math.log(kappa)  # a logarithm: exp(m) / p0 would overflow
    m = torch.zeros_like(others)
    for _ in range(NEWTON_STEPS):
        w = lambert_w_of_exp(ratio + m)
        log_p = torch.cat([before + w, others], dim=1) - m
        excess = log_p.logsumexp(-1, keepdim=True)
        # It falls with m and bends upwards, so that Newton's steps from the left never go too far.
        slope = ((log_p - excess).exp() / torch.nn.functional.pad(1 + w, (0, 1), value=1.0)).sum(-1, keepdim=True)
        m = m + excess / slope
        if excess.abs().max() < 1e-14:
            break
    return (log_p0 - m).scatter(1, tokens, before + w - m).log_softmax(-1).to(log_p0)


def lambert_w_of_exp(x: Tensor) -> Tensor:
    """W(exp(x)), the w with w + log w = x, without overflow; 0 at minus infinity. x is float64."""
    # From these starts, both under the root, Newton's method rises to it.
    w = torch.where(x > 1, x - x.clamp(min=1).log(), x.clamp(max=1).sigmoid()).clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(8):
        w = w * (1 + x - w.log()) / (1 + w)
    return torch.where(x > -700, w, x.exp())  # far below, W(y) = y
