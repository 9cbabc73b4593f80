"""What the candidates' scores ask for: a distribution over them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..options import GuidanceOptions
from .proposal import Iteration, Proposal


def candidates_of(proposal: Proposal, log_p: Tensor, options: GuidanceOptions) -> Tensor:
    """Ids of the tokens whose texts are to be scored under log_p, (rows, vocabulary): shape (rows, k).

    They are the most probable, as in the papers. With `num_previewed` they are the most promising of so many: a token's
    promise is log p + cos(a, its own text) / temperature, which costs next to nothing, as tokens' own texts are
    embedded once and for all.
    """
    preview = options.num_previewed and proposal.scorer.embeddings is not None
    values, ids = proposal.most_probable(log_p, max(options.num_candidates, options.num_previewed * bool(preview)))
    if not preview:
        return ids
    promise = values + proposal.scorer.preview(ids).to(values) / options.temperature
    return ids.gather(1, promise.topk(min(options.num_candidates, ids.shape[1])).indices)


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
