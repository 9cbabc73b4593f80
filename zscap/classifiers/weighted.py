"""Several classifiers as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..errors import InvalidOption
from ..roles import Classifier


class WeightedClassifiers:
    """Several classifiers as one, each with a weight; a negative weight wants the opposite of its property.

    The probability is the mean of P_i, or of 1 - P_i where w_i < 0, weighted by |w_i|. Up to a constant, which the
    target's softmax cancels, guidance by it adds classifier_scale * sum_i w_i P_i / sum_i |w_i| to the scores.
    Unlike that sum it stays within [0, 1], which is what whoever asks a classifier relies on.

    Args:
        weighted: pairs of a classifier and its weight; only the weights' ratios count, `classifier_scale` has the rest.

    Raises:
        InvalidOption: no classifier, a weight that is not finite, or none that differs from 0.

    Examples:
        >>> import zscap
        >>> audible = zscap.load("embedded").classifier
        >>> inaudible = zscap.WeightedClassifiers([(audible, -1)])
        >>> [round(p, 1) for p in inaudible.probability(["a dog barks", "the sky is blue"]).tolist()]
        [0.1, 0.8]
    """

    def __init__(self, weighted: Sequence[tuple[Classifier, float]]):
        weights = [weight for _, weight in weighted]
        if not 0 < sum(map(abs, weights)) < math.inf:  # not a number, it is in no interval
            raise InvalidOption(f"weights={weights}: must be finite numbers, one of them not 0; change them")
        self.weighted = [(classifier, weight) for classifier, weight in weighted if weight]

    def probability(self, texts: Sequence[str]) -> Tensor:
        """Weighted mean of how well each text does by each classifier.

        Returns:
            Tensor, shape = (n,), values in [0, 1], on the first classifier's device.
        """
        total = sum(abs(weight) for _, weight in self.weighted)
        parts = [(classifier.probability(texts), weight) for classifier, weight in self.weighted]
        device = parts[0][0].device
        mean = sum(abs(weight) / total * (p if weight > 0 else 1 - p).to(device) for p, weight in parts)
        return mean.clamp(0, 1)  # the shares' sum may round to a little more than 1
