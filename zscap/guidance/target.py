"""What the candidates' scores ask for: a distribution over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options import GuidanceOptions
from ..scoring import Iteration, Proposal

# A candidate of a smaller share of the target changes nothing in float32, which resolves 6e-8, nor in a caption.
NEGLIGIBLE = 1e-12


def scored(options: GuidanceOptions, proposal: Proposal, log_p: Tensor) -> Iteration:
    """The candidates under log_p, shape = (rows, vocabulary), and their scores."""
    return proposal.score(log_p, candidates_of(options, proposal, log_p), bound(options))


def candidates_of(options: GuidanceOptions, proposal: Proposal, log_p: Tensor) -> Tensor:
    """Ids of the tokens whose texts are to be scored under log_p, (rows, vocabulary): shape = (rows, k).

    They are the most probable, as in the papers. With `num_previewed` they are the most promising of so many: a token's
    promise is log p + cos(a, its own text) / temperature, which costs next to nothing, as tokens' own texts are
    embedded once and for all.
    """
    previewed = options.num_previewed if proposal.scorer.sources is not None else 0
    values, ids = proposal.most_probable(log_p, max(options.num_candidates, previewed))
    if not previewed:
        return ids
    promise = values + proposal.scorer.preview(ids).to(values) / options.temperature
    return ids.gather(1, promise.topk(min(options.num_candidates, ids.shape[1])).indices)


def bound(options: GuidanceOptions) -> float:
    """How far behind the best match a text may lie and still gain more than a negligible share of the target."""
    if options.combine == "losses":
        return math.inf
    return options.classifier_scale + options.temperature * math.log(1 / NEGLIGIBLE)


def targets_of(options: GuidanceOptions, iteration: Iteration) -> list[tuple[float, Tensor]]:
    """Weight and target of each cross-entropy: one of the summed scores (the code), or one per guide (the paper).

    The targets have the candidates' shape, (rows, k).
    """
    matching, probability = iteration.matching, iteration.probability
    if options.combine == "losses":
        guides = (options.matching_scale, matching), (options.classifier_scale, probability)
        return [(scale, _softmax(options, scores)) for scale, scores in guides if scores is not None]
    scores = [] if matching is None else [matching]
    scores += [] if probability is None else [options.classifier_scale * probability]
    # Without the matcher, its scale is no reason to leave out the classifier.
    return [(options.matching_scale or 1.0, _softmax(options, sum(scores)))]


def _softmax(options: GuidanceOptions, scores: Tensor) -> Tensor:
    """The target over the candidates; one without a score gets none of it."""
    return (scores / options.temperature).nan_to_num(nan=-torch.inf).softmax(-1)
