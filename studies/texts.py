"""Texts that have a property, and texts that don't: read from a table, checked, and split for training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from zscap.errors import InvalidData, ZscapError

Sentences = Sequence[str]
Table = pd.DataFrame | str | Path  # see `labelled_texts`
COLUMNS = {"sentence": "text", "audible": "label"}  # of an audibility table -> of any labelled one


def labelled_texts(source: Table) -> pd.DataFrame:
    """Read a table of texts that have a property (label 1 or true) and texts that don't (0 or false).

    Args:
        source: the table, or a csv file that holds it, with the columns `text` and `label`, or `sentence` and
            `audible` as in data/audibility.csv.

    Returns:
        DataFrame with the columns `text` (str) and `label` (bool), and whatever else the table has.

    Raises:
        InvalidData: the file isn't there, a column is missing, or a row has no text or another label.
    """
    if not isinstance(source, Table):
        raise InvalidData(
            f"the source is of type {type(source).__name__}: give a table or a csv file, or two lists of sentences"
        )
    table, name = (source, "the table") if isinstance(source, pd.DataFrame) else (_read_csv(Path(source)), source)
    table = table.rename(columns={old: new for old, new in COLUMNS.items() if new not in table})
    if missing := [column for column in COLUMNS.values() if list(table).count(column) != 1]:
        raise InvalidData(f"{name} needs one column {missing[0]}, it has {list(table)}: rename its columns")
    textless = ~table.text.map(lambda text: isinstance(text, str) and bool(text.strip())).astype(bool)
    if (bad := textless | ~table.label.isin([0, 1])).any():
        row = table[bad].iloc[0]
        shown = " ".join(f"{row.text!r}, {row.label!r}".split())[:100]
        raise InvalidData(f"{name} has a row {shown}: text must be a text, label 1 or 0")
    return table.assign(label=table.label.astype(bool))


def normalised(text: str) -> str:
    """Return what two texts share that differ in case, spaces or final punctuation alone.

    >>> normalised(" A dog  barks. ")
    'a dog barks'
    """
    return " ".join(text.split()).casefold().rstrip(" .!?,;:")


def two_classes(positive: Sentences | Table, negative: Sentences | None = None) -> tuple[list[str], list[str]]:
    """Sentences with and without the property, of two lists or of one table.

    Raises:
        InvalidData: a class has no sentences, a sentence has both labels, or a table isn't as it should be.
    """
    if negative is not None:
        for side in (positive, negative):
            if isinstance(side, Table):
                raise InvalidData(f"a class is the {type(side).__name__} {str(side)[:60]!r}: give a list of sentences")
        texts, labels = labelled(positive, negative)
        positive = pd.DataFrame({"text": texts, "label": labels})
    table = labelled_texts(positive)
    positive, negative = (table.text[table.label == label].tolist() for label in (True, False))
    if not positive or not negative:
        raise InvalidData(f"{len(positive)} positive and {len(negative)} negative sentences: both classes need some")
    both = set(map(normalised, positive)) & set(map(normalised, negative))
    if both:
        raise InvalidData(f"{len(both)} sentences are in both classes, such as {min(both)!r}: keep each in one")
    return positive, negative


def labelled(positive: Sequence[str], negative: Sequence[str]) -> tuple[list[str], list[int]]:
    """Texts of both classes and their labels, 1 and 0."""
    return [*positive, *negative], [1] * len(positive) + [0] * len(negative)


def training_and_validation(
    positive: Sentences | Table,
    negative: Sentences | None,
    validation: tuple[Sentences, Sentences] | Table | None,
    seed: int,
) -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    """Both classes to train on, and both of other sentences to validate on; without any, a seventh is put aside.

    Raises:
        InvalidData: see `two_classes`.
    """
    training = two_classes(positive, negative)
    if validation is not None:
        two = isinstance(validation, tuple | list) and len(validation) == 2
        return training, two_classes(*(validation if two else (validation,)))
    if (fewest := min(map(len, training))) < 2:
        raise InvalidData(f"{fewest} sentence of a class can't serve training and validation both: give more")
    split = scikit_learn().model_selection.train_test_split
    parts = [split(texts, test_size=1 / 7, random_state=seed) for texts in training]
    return tuple(kept for kept, _ in parts), tuple(held for _, held in parts)


def scikit_learn() -> ModuleType:
    """scikit-learn, imported late: captioning needs none of it.

    Raises:
        ZscapError: it is not installed.
    """
    try:
        import sklearn.metrics
        import sklearn.model_selection
    except ImportError:
        raise ZscapError("training needs scikit-learn, which is not here: pip install scikit-learn") from None
    return sklearn


def _read_csv(path: Path) -> pd.DataFrame:
    if not os.path.exists(path):
        raise InvalidData(f"{path} isn't there: give a csv file or a table with the columns text and label")
    try:
        return pd.read_csv(path)
    except Exception as error:  # a folder, no rows, another number of columns, not utf-8, packed and damaged
        raise InvalidData(f"{path} is no csv file ({' '.join(str(error).split())}): save it as one") from error
