"""Gradient steering: the cached context is shifted until the language model prefers what fits (METHODS 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..candidates import Scorer
from ..language_model import LanguageModel, State
from ..options import SteeringOptions
from .target import Iteration, targets_of


def steer(
    logits: Tensor,
    possible: Tensor,
    state: State,
    language_model: LanguageModel,
    scorer: Scorer,
    options: SteeringOptions,
    watch: list[Iteration] | None = None,
) -> Tensor:
    """Guided logits, shape (rows, vocabulary), from the unguided ones (arXiv 2309.03884, section 3).

    Minimises, for each row by itself, sum_g weight_g CE(target_g, p) + kl_scale KL(p || p0) over shifts of the
    context's keys and values. The shifts serve this one token; the state keeps its context. Without a guide or with
    num_iterations=0 the logits come back as they are.

    possible : bool Tensor, shape = (rows, vocabulary), the tokens that may be chosen at all
    """
    if options.num_iterations == 0 or not scorer.has_guides:
        return logits
    log_p0 = logits.log_softmax(-1)
    context = [tensor for layer in state.context for tensor in layer]
    shifts = [torch.zeros_like(tensor) for tensor in context]
    k = min(options.num_candidates, int(possible.sum(-1).max()))

    def shifted() -> Tensor:
        tensors = [tensor + shift for tensor, shift in zip(context, shifts, strict=True)]
        return language_model.forward(state.last, list(zip(tensors[::2], tensors[1::2], strict=True)), state.padding)[0]

    for iteration in range(options.num_iterations):
        # At a constant step a large one overshoots and swings around what it seeks.
        left = 1.0 if options.step_schedule == "constant" else 1 - iteration / options.num_iterations
        shifts = [shift.requires_grad_() for shift in shifts]
        with torch.enable_grad():
            log_p = shifted().log_softmax(-1)
            candidates = log_p.detach().where(possible, -torch.inf).topk(k).indices
            with torch.no_grad():
                matching, probability = scorer(candidates, possible.gather(1, candidates))
                targets = targets_of(matching, probability, options)
            loss = options.kl_scale * (log_p.exp() * (log_p - log_p0)).sum()
            for weight, target in targets:
                loss = loss - weight * (target * log_p.gather(1, candidates)).sum()
            # Rows are independent: the gradient of the summed loss is each row's own.
            gradients = torch.autograd.grad(loss, shifts)
        if watch is not None:
            watch.append(Iteration(log_p.detach(), candidates, matching, probability, targets))
        shifts = [
            shift.detach() - left * options.step_size * _scaled(gradient, options.gradient_norm_power)
            for shift, gradient in zip(shifts, gradients, strict=True)
        ]
    return shifted()


def _scaled(gradient: Tensor, power: float) -> Tensor:
    """Each row's gradient divided by a power of its norm."""
    norm = gradient.flatten(1).norm(dim=1) + 1e-15
    return gradient / norm.pow(power).view(-1, *[1] * (gradient.dim() - 1))
