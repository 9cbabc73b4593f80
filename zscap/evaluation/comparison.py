"""Which differences between two runs are real: paired bootstrap over the clips that both have captioned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData
from .intervals import bootstrap_interval
from .runs import read_scores, read_summary

if TYPE_CHECKING:
    import pandas as pd


def same_data(first: str | Path, second: str | Path) -> tuple[dict, tuple[pd.DataFrame, pd.DataFrame]]:
    """The first's summary, and the scores of two runs.

    Raises:
        InvalidData: a folder holds no run, or they are of different data.
    """
    summaries = read_summary(first), read_summary(second)
    if summaries[0]["data_sha256"] != summaries[1]["data_sha256"]:
        raise InvalidData(
            f"{second}: its data, {summaries[1]['data']}, are not those of {first}; compare runs on the same"
        )
    return summaries[0], (read_scores(first), read_scores(second))


def compare(first: str | Path, second: str | Path) -> pd.DataFrame:
    """Compare two runs on the same data, measure by measure.

    Each clip's difference is one observation, so clips that are hard for both count for little. A difference is called
    real if its 95 % bootstrap interval leaves out 0; of twenty measures without any, one is called so by chance.

    Args:
        first, second: folders of runs.

    Returns:
        DataFrame, a row for each measure of single captions that both have: `first`, `second` (means over the clips of
        both), `difference` (second minus first), `low`, `high`, `real` and `n`.

    Raises:
        InvalidData: a folder holds no run, or they are of different data.
    """
    import pandas as pd

    _, scores = same_data(first, second)
    both = scores[0].index.intersection(scores[1].index)
    rows = []
    for name in scores[0].columns:
        if name not in scores[1] or name in ("sound", "text", "error"):
            continue
        pairs = pd.concat([each.loc[both, name].astype(float) for each in scores], axis=1).dropna()
        if len(pairs) < 2:
            continue
        one, other = pairs.to_numpy().T
        low, high = bootstrap_interval(other - one)
        row = {"measure": name, "first": one.mean(), "second": other.mean(), "difference": (other - one).mean()}
        rows.append(row | {"low": low, "high": high, "real": bool(low > 0 or high < 0), "n": len(pairs)})
    return pd.DataFrame(rows).set_index("measure") if rows else pd.DataFrame(rows)
