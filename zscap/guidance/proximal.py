"""Proximal steering: the distribution that gradient steering only approaches, in closed form (docs/METHODS.md, 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options import ProximalOptions
from ..scoring import Guided, Proposal
from .penalties import finished
from .target import scored, targets_of

NEWTON_STEPS = 50  # convergence is monotone and in the end quadratic: about ten are taken


def solved(options: ProximalOptions, proposal: Proposal) -> Guided:
    """The next token in closed form: guidance runs the language model no second time, forwards or backwards.

    Minimises, for each row by itself, sum_g weight_g CE(target_g, p) + kappa KL(p || p0) over distributions p, the
    objective of gradient steering. Without a guide p is p0.
    """
    if not proposal.scorer.has_guides:
        return Guided(finished(options, proposal, proposal.logits))
    iteration = scored(options, proposal, proposal.log_p)
    target = torch.zeros_like(proposal.log_p)
    for weight, share in targets_of(options, iteration):
        target.scatter_add_(1, iteration.candidates, weight * share.to(target))
    return Guided(finished(options, proposal, solve(proposal.log_p, target, options.kappa)), (iteration,))


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
    before = in_float64(log_p0.gather(1, tokens))
    others = in_float64(log_p0.scatter(1, tokens, -torch.inf)).logsumexp(-1, keepdim=True)
    ratio = in_float64(wanted).log() - before - math.log(kappa)  # a logarithm: exp(m) / p0 would overflow
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
    solution = in_float64(log_p0) - m
    return solution.scatter(1, tokens.to(m.device), before + w - m).log_softmax(-1).to(log_p0)


def in_float64(values: Tensor) -> Tensor:
    """In double precision; on the CPU where the device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def lambert_w_of_exp(x: Tensor) -> Tensor:
    """W(exp(x)), the w with w + log w = x, without overflow; 0 at minus infinity. x is float64."""
    # From these starts, both under the root, Newton's method rises to it.
    w = torch.where(x > 1, x - x.clamp(min=1).log(), x.clamp(max=1).sigmoid()).clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(8):
        w = w * (1 + x - w.log()) / (1 + w)
    return torch.where(x > -700, w, x.exp())  # far below, W(y) = y
