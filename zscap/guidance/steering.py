"""Gradient steering: the cached context is shifted until the language model prefers what fits (METHODS 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..options import SteeringOptions
from .proposal import Proposal
from .target import candidates_of, targets_of


def steer(proposal: Proposal, options: SteeringOptions) -> Tensor:
    """Log-probabilities of the next token, shape (rows, vocabulary) (arXiv 2309.03884, section 3).

    Minimises, for each row by itself, sum_g weight_g CE(target_g, p) + kl_scale KL(p || p0) over shifts of the
    context's keys and values. The shifts serve this one token; the state keeps its context. Without a guide or with
    num_iterations=0 nothing is shifted.
    """
    if options.num_iterations == 0 or not proposal.scorer.has_guides:
        return proposal.finish(proposal.logits, options)
    context = [tensor for layer in proposal.state.context for tensor in layer]
    shifts = [torch.zeros_like(tensor) for tensor in context]

    def shifted() -> Tensor:
        tensors = [tensor + shift for tensor, shift in zip(context, shifts, strict=True)]
        layers = list(zip(tensors[::2], tensors[1::2], strict=True))
        return proposal.language_model.forward(proposal.state, layers)[0]

    for iteration in range(options.num_iterations):
        # At a constant step a large one overshoots and swings around what it seeks.
        left = 1.0 if options.step_schedule == "constant" else 1 - iteration / options.num_iterations
        shifts = [shift.requires_grad_() for shift in shifts]
        with torch.enable_grad():
            log_p = shifted().log_softmax(-1)
            with torch.no_grad():
                look = proposal.look(log_p.detach(), candidates_of(proposal, log_p.detach(), options))
            loss = options.kl_scale * (log_p.exp() * (log_p - proposal.log_p)).sum()
            for weight, target in targets_of(look, options):
                loss = loss - weight * (target * log_p.gather(1, look.candidates)).sum()
            # Rows are independent: the gradient of the summed loss is each row's own.
            gradients = torch.autograd.grad(loss, shifts)
        shifts = [
            shift.detach() - left * options.step_size * _scaled(gradient, options.gradient_norm_power)
            for shift, gradient in zip(shifts, gradients, strict=True)
        ]
    return proposal.finish(shifted(), options)


def _scaled(gradient: Tensor, power: float) -> Tensor:
    """Each row's gradient divided by a power of its norm."""
    norm = gradient.flatten(1).norm(dim=1) + 1e-15
    return gradient / norm.pow(power).view(-1, *[1] * (gradient.dim() - 1))
