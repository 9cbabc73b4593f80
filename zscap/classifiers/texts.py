"""Tables of texts that have a property, and of texts that don't."""

import os
from pathlib import Path

import pandas as pd

from ..errors import InvalidData

COLUMNS = {"sentence": "text", "audible": "label"}  # of an audibility table -> of any labelled one


def labelled_texts(source: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Read a table of texts that have a property (label 1 or true) and texts that don't (0 or false).

    Args:
        source: the table, or a csv file that holds it, with the columns `text` and `label`, or `sentence` and
            `audible` as in data/audibility.csv.

    Returns:
        DataFrame with the columns `text` (str) and `label` (bool), and whatever else the table has.

    Raises:
        InvalidData: the file isn't there, a column is missing, or a row has no text or another label.
    """
    if not isinstance(source, pd.DataFrame | str | Path):
        raise InvalidData(f"the source is of type {type(source).__name__}: give a table or a csv file")
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


def _read_csv(path: Path) -> pd.DataFrame:
    if not os.path.exists(path):
        raise InvalidData(f"{path} isn't there: give a csv file or a table with the columns text and label")
    try:
        return pd.read_csv(path)
    except Exception as error:  # a folder, no rows, another number of columns, not utf-8, packed and damaged
        raise InvalidData(f"{path} is no csv file ({' '.join(str(error).split())}): save it as one") from error
