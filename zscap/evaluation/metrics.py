"""Figures of merit that scikit-learn lacks: calibration, intervals, tables of means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest, bootstrap

if TYPE_CHECKING:
    import pandas as pd


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


def summary(table: pd.DataFrame, by: str | list[str], measures: Sequence[str]) -> pd.DataFrame:
    """Mean and 95 % interval of each measure, a row for each group, in the order of their first appearance.

    Returns:
        DataFrame with the columns of `by`, `clips` (rows of the group), and for each measure `measure`, `measure_low`
        and `measure_high`: empty where the group has no value, left out where no group has one.

    Examples:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"way": ["alone", "guided", "guided"], "named": [False, True, False]})
        >>> readable(summary(table, "way", ["named"]), "way", ["named"])["named"].to_dict()
        {'alone': '0.00 (0.00 to 0.79)', 'guided': '0.50 (0.09 to 0.91)'}
    """
    import pandas as pd

    rows = []
    for _, group in table.groupby(by, sort=False):
        row = group.iloc[0][[by] if isinstance(by, str) else by].to_dict() | {"clips": len(group)}
        for measure in measures:
            values = group[measure].dropna().infer_objects()
            low, high = interval(values) if len(values) else (np.nan, np.nan)
            row |= {measure: values.mean(), f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def with_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A value with its interval in brackets, if that has a width at so many digits; "" without a value.

    >>> with_interval(0.91, 0.83, 0.957), with_interval(1.0, 1.0, 1.0)
    ('0.91 (0.83 to 0.96)', '1.00')
    """
    if np.isnan(value):
        return ""
    ends = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{value:.{digits}f}" + (f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else "")


def readable(table: pd.DataFrame, by: str | list[str], measures: Sequence[str]) -> pd.DataFrame:
    """A `summary` as one reads it: each mean with its interval in brackets, if that has a width, as text."""

    shown = table.set_index(by)
    columns = {m: map(with_interval, shown[m], shown[f"{m}_low"], shown[f"{m}_high"]) for m in measures if m in shown}
    return shown[[]].assign(**{name: list(cells) for name, cells in columns.items()})
