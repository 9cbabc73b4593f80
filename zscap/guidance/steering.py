"""Gradient steering: keys and values are shifted until the model prefers what fits (docs/METHODS.md, 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..options import SteeringOptions
from ..scoring import Guided, Proposal
from .penalties import finished
from .target import scored, targets_of


def steered(options: SteeringOptions, proposal: Proposal) -> Guided:
    """The next token after gradient steps (arXiv 2309.03884, section 3).

    Minimises, for each row by itself, sum_g weight_g CE(target_g, p) + kl_scale KL(p || p0) over shifts of the
    cached keys and values. The shifts serve this one token; the state keeps its cache. Without a guide
    nothing is shifted.
    """
    if not proposal.scorer.has_guides:
        return Guided(finished(options, proposal, proposal.logits))
    cache = [tensor for layer in proposal.state.cache for tensor in layer]
    shifts = [torch.zeros_like(tensor) for tensor in cache]
    iterations = []

    def shifted() -> Tensor:
        tensors = [tensor + shift for tensor, shift in zip(cache, shifts, strict=True)]
        layers = list(zip(tensors[::2], tensors[1::2], strict=True))
        return proposal.language_model.forward(proposal.state, layers)[0]

    for number in range(options.num_iterations):
        # At a constant step a large one overshoots and swings around what it seeks.
        left = 1.0 if options.step_schedule == "constant" else 1 - number / options.num_iterations
        shifts = [shift.requires_grad_() for shift in shifts]
        with torch.enable_grad():
            log_p = shifted().log_softmax(-1)
            with torch.no_grad():
                iteration = scored(options, proposal, log_p.detach())
            loss = options.kl_scale * (log_p.exp() * (log_p - proposal.log_p)).sum()
            for weight, target in targets_of(options, iteration):
                loss = loss - weight * (target * log_p.gather(1, iteration.candidates)).sum()
            # Rows are independent: the gradient of the summed loss is each row's own.
            gradients = torch.autograd.grad(loss, shifts)
        shifts = [
            shift.detach() - left * options.step_size * _scaled(gradient, options.gradient_norm_power)
            for shift, gradient in zip(shifts, gradients, strict=True)
        ]
        iterations.append(iteration)
    return Guided(finished(options, proposal, shifted()), tuple(iterations))


def _scaled(gradient: Tensor, power: float) -> Tensor:
    """Each row's gradient divided by a power of its norm."""
    norm = gradient.flatten(1).norm(dim=1) + 1e-15
    return gradient / norm.pow(power).view(-1, *[1] * (gradient.dim() - 1))
