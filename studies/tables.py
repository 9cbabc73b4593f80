"""Tables of means with their intervals, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zscap.evaluation.intervals import interval

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
