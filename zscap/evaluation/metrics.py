"""Figures of merit that scikit-learn lacks: calibration and intervals."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap


def expected_calibration_error(labels: Sequence[bool], probabilities: Sequence[float], *, bins: int = 10) -> float:
    """Mean distance between predicted probability and observed frequency over equal-width bins, weighted by their size.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015), for the probability
    of the positive class.

    Returns:
        0 (calibrated) to 1.
    """
    labels, probabilities = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    # |sum of (label - probability)| of a bin is its size times the distance of the two means
    gaps = np.bincount(bin_of, weights=labels - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def bootstrap_interval(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval (BCa) of the mean of `values`; of values equal but for rounding it is that value twice.

    Returns:
        Its lower and its upper end.

    Raises:
        ValueError: no values.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        raise ValueError("an interval needs at least one value")
    if np.ptp(values) <= 1e-9 * np.abs(values).max():  # BCa is undefined there
        return float(values[0]), float(values[0])
    interval = bootstrap((values,), np.mean, confidence_level=confidence, rng=seed).confidence_interval
    return float(interval.low), float(interval.high)
