"""How often a metric prefers the caption that people prefer (Zhou et al., arXiv 2110.04684, section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from zscap.errors import InvalidData
from zscap.evaluation.intervals import interval
from zscap.evaluation.metrics import METRICS, Gap, evaluate

CATEGORIES = {
    "HC": "two people's captions, both right",
    "HI": "one of the right clip, one of another",
    "HM": "a person's against a machine's",
    "MM": "two machines'",
}
PUBLISHED = {  # FENSE's agreement in per cent, arXiv 2110.04684, table 2
    "audiocaps": {"HC": 64.5, "HI": 98.4, "HM": 91.6, "MM": 84.6, "total": 85.3},
    "clotho": {"HC": 60.5, "HI": 94.7, "HM": 80.2, "MM": 72.8, "total": 75.7},
}


class Pair(NamedTuple):
    """Two captions of one clip, and whom people prefer."""

    category: str
    captions: tuple[str, str]
    references: tuple[str, ...]  # neither of the two
    votes: tuple[int, ...]  # 1 for the first, -1 for the second, 0 for none


def read_judgements(file: str | Path) -> list[Pair]:
    """The pairs of AudioCaps-Eval or Clotho-Eval; those of which no reference is left are not among them.

    Raises:
        InvalidData: no such file, or another layout.
    """
    try:
        items = json.loads(Path(file).read_text(encoding="utf-8"))
        return [pair for item in items for pair in _pairs(item)]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidData(f"{file}: no judgements of captions can be read ({error})") from None


def _pairs(item: dict) -> Iterator[Pair]:
    for name, judged in item.items():
        category = name.partition("_")[0]
        if category in CATEGORIES and judged:
            first, second, *_, votes = judged
            references = tuple(text for text in item["references"] if text not in (first, second))
            if references:
                yield Pair(category, (first, second), references, tuple(votes))


def agreement(pairs: Sequence[Pair], metrics: Sequence[str]) -> pd.DataFrame:
    """Share of pairs in which a metric and the majority of people prefer the same caption.

    Pairs on which people are divided are left out; a metric that gives both captions the same score is wrong. The last
    rows are of one annotator against the majority of the others.

    Returns:
        DataFrame with `metric`, `category` (total last), `pairs`, `agreement`, `low` and `high` (Wilson's 95 %
        interval), and `gap`, why a metric has none.

    Examples:
        >>> pair = Pair("MM", ("a dog barks", "rain falls"), references=("a dog is barking",), votes=(1, 1, -1))
        >>> table = agreement([pair], ["rouge_l"])
        >>> table[table.category == "total"].set_index("metric").agreement.round(2).to_dict()
        {'rouge_l': 1.0, 'one annotator': 0.0}
    """
    decided = [pair for pair in pairs if sum(pair.votes)]
    captions = [caption for pair in decided for caption in pair.captions]
    corpus, each = evaluate(captions, [pair.references for pair in decided for _ in range(2)], metrics)
    categories = np.array([pair.category for pair in decided])
    first = np.array([sum(pair.votes) > 0 for pair in decided])
    rows = []
    for name in metrics:
        if name not in each:
            gap = corpus[name].reason if isinstance(corpus[name], Gap) else "it doesn't score captions by themselves"
            rows.append({"metric": name, "category": "total", "pairs": 0, "gap": gap})
            continue
        ahead = (each[name][::2] - each[name][1::2]) * (-1 if METRICS[name].less_is_better else 1)
        rows += _rows(name, categories, np.where(first, ahead > 0, ahead < 0))
    people = [(pair.category, agrees) for pair in pairs for agrees in _one_against_the_rest(pair.votes)]
    rows += _rows("one annotator", np.array([category for category, _ in people]), np.array([a for _, a in people]))
    return pd.DataFrame(rows)


def _rows(name: str, categories: np.ndarray, right: np.ndarray) -> list[dict]:
    rows = []
    for category in [*CATEGORIES, "total"]:
        of = right[(categories == category) | (category == "total")]
        if len(of):
            low, high = interval(of)
            row = {"metric": name, "category": category, "pairs": len(of), "agreement": of.mean()}
            rows.append(row | {"low": low, "high": high})
    return rows


def _one_against_the_rest(votes: Sequence[int]) -> Iterator[bool]:
    for vote in votes:
        rest = sum(votes) - vote
        if vote and rest:
            yield (vote > 0) == (rest > 0)
