"""What the candidates' scores ask for: a distribution over them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..options import GuidanceOptions
from .proposal import Iteration


def targets_of(look: Iteration, options: GuidanceOptions) -> list[tuple[float, Tensor]]:
    """Weight and target of each cross-entropy: one of the summed scores (the code), or one per guide (the paper).

    The targets have the candidates' shape, (rows, k).
    """
    guides = [
        (scale, scores)
        for scale, scores in ((options.matching_scale, look.matching), (options.classifier_scale, look.probability))
        if scores is not None
    ]
    if options.combine == "losses":
        return [(scale, _softmax(scores, options)) for scale, scores in guides]
    total = sum(scores if scores is look.matching else scale * scores for scale, scores in guides)
    return [(options.matching_scale, _softmax(total, options))]


def _softmax(scores: Tensor, options: GuidanceOptions) -> Tensor:
    """The target over the candidates; one without a score gets none of it."""
    return (scores / options.temperature).nan_to_num(nan=-torch.inf).softmax(-1)
