"""What the candidates' scores ask for: a distribution over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..options import GuidanceOptions


@dataclass(frozen=True)
class Iteration:
    """One look at the candidates; Tensors of shape (rows, k) but for log_p, (rows, vocabulary)."""

    log_p: Tensor  # of the language model, with what guidance has done so far
    candidates: Tensor  # token ids, the k most probable
    matching: Tensor | None  # cosine of each candidate's text with the source, NaN where it was not asked for
    probability: Tensor | None  # the classifier's, of each candidate's text, NaN where it was not asked for
    targets: list[tuple[float, Tensor]]  # weight and distribution over the candidates, one per cross-entropy


def targets_of(
    matching: Tensor | None, probability: Tensor | None, options: GuidanceOptions
) -> list[tuple[float, Tensor]]:
    """Weight and target of each cross-entropy: one of the summed scores (the code), or one per guide (the paper)."""
    guides = [
        (scale, scores)
        for scale, scores in ((options.matching_scale, matching), (options.classifier_scale, probability))
        if scores is not None
    ]
    if options.combine == "losses":
        return [(scale, _softmax(scores, options)) for scale, scores in guides]
    total = sum(scores if scores is matching else scale * scores for scale, scores in guides)
    return [(options.matching_scale, _softmax(total, options))]


def _softmax(scores: Tensor, options: GuidanceOptions) -> Tensor:
    """The target over the candidates; one without a score gets none of it."""
    return (scores / options.temperature).nan_to_num(nan=-torch.inf).softmax(-1)
