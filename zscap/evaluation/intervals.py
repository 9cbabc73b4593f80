"""95 % intervals of means and of shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean: Wilson's if `values` are booleans, so a proportion, else the bootstrap's.

    The kind of the values decides and not the values: numbers that happen to be all 0 are no proportion.

    Returns:
        Its lower and its upper end.

    Raises:
        ValueError: no values.

    >>> [round(end, 3) for end in interval([False] * 80)]
    [0.0, 0.046]
    """
    values = np.asarray(values)
    if values.dtype != bool or len(values) == 0:
        return bootstrap_interval(values)
    ends = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    return float(ends.low), float(ends.high)


def bootstrap_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval (BCa) of the mean of `values`; of values equal but for rounding it is that value twice.

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
    ends = bootstrap((values,), np.mean, rng=seed).confidence_interval
    return float(ends.low), float(ends.high)


def has_width(low: float, high: float) -> bool:
    """Whether an interval says anything: the bootstrap of values that are all equal knows nothing of others."""
    return high - low > 1e-6 * max(1.0, abs(low))
