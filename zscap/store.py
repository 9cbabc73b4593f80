"""A store of captions that people have written, read from a file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .errors import InvalidData
from .folders import data_folder

# Names that stand for what `zscap fetch captions` brings: texts of training splits.
STORES = {"audiocaps": Path("captions", "audiocaps_train.csv"), "clotho": Path("captions", "clotho_development.csv")}
COLUMNS = "caption", *(f"caption_{number}" for number in range(1, 6))  # AudioCaps has the first, Clotho the others
MAX_TEXTS, MAX_BYTES = 1_000_000, 2**28  # of a store
ONE_A_LINE = "give a text with one a line"


def read_store(path: str | Path) -> tuple[str, ...]:
    """Captions of a file, none twice: a text with one a line, or a .csv with the columns that AudioCaps or Clotho has.

    Args:
        path: of the file; or a name of `STORES`, which goes before a file of that name in the working directory.

    Raises:
        InvalidData: no such regular file, no such column, a row that is longer or shorter than the header, no captions,
            or more than 1,000,000 of them or 256 MiB; or what a name stands for has not been fetched.
    """
    fix = f"{ONE_A_LINE}, a .csv with the column caption, or a name: {', '.join(STORES)}"
    if str(path) in STORES:
        path, fix = data_folder() / STORES[str(path)], "run `zscap fetch captions`"
    return read_texts(path, "captions", COLUMNS, MAX_TEXTS, MAX_BYTES, fix=fix)


def read_texts(
    path: str | Path, what: str, columns: Sequence[str], most: int, size: int, *, separator="\n", fix=ONE_A_LINE
) -> tuple[str, ...]:
    """Texts of a file, none twice and none empty: one a line, or of a .csv.

    Args:
        what: they are, for messages.
        columns: of a .csv; those that it has are read.
        most: how many there may be.
        size: bytes that the file may have.
        separator: parts a field of a .csv into texts.
        fix: the end of a message.

    Raises:
        InvalidData: no such regular file, no such column, a row unlike the header, no texts, or too many.
    """
    path = Path(path)
    try:
        if path.stat().st_size > size or not path.is_file():
            raise OSError(f"no regular file of at most {size:,} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                table, texts = csv.DictReader(file), []
                if not (there := [name for name in columns if name in (table.fieldnames or ())]):
                    raise ValueError(f"no column {columns[0]}")
                for row in table:
                    if None in row or None in row.values():  # as where a comma stands without quotes
                        raise ValueError(f"line {table.line_num} has more or fewer fields than the first")
                    texts += [text for name in there for text in row[name].split(separator)]
            else:
                texts = file.read().splitlines()
    except (OSError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InvalidData(f"{path}: no {what} can be read ({reason}); {fix}") from None
    found = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not 0 < len(found) <= most:
        raise InvalidData(f"{path}: holds {len(found) or 'no'} {what}; give 1 to {most:,}")
    return found
