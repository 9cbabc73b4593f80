"""Captions in a file, one row a source, JSON lines or a CSV table: a later run of the same settings goes on with it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .errors import UnwritableOutput

if TYPE_CHECKING:
    from .caption import Caption

COLUMNS = ("source", "text", "continuation", "tokens", "matching", "classifier", "log_likelihood", "error")
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # names of files may be no UTF-8


class Output:
    """Rows of a file, appended source by source. What the file holds is checked here, and nothing changed.

    Args:
        path: a table if it ends in .csv, else JSON lines; its folder is made.
        settings: what the captions are made with, by name, told in every row; a file of others is refused.
        inputs: files that are read, which the output must not be.

    Raises:
        UnwritableOutput: the file cannot be written, is an input, or holds anything but captions of these settings.
    """

    def __init__(self, path: Path, settings: dict, inputs: Iterable[str | Path] = ()):
        self.path = path
        self.format = (_Table if path.suffix.lower() == ".csv" else _Lines)(settings)
        self._done: set[str] = set()
        self._failed: dict[str, str] = {}  # what was wrong, by source
        self._size = 0  # bytes of whole rows
        self._is_cut = False  # a killed run left the beginning of a row behind them
        with self._told():
            self._check(inputs)
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
            is_new = not path.exists()
            path.open("a").close()  # proves that it can be written
            if is_new:
                path.unlink()
            else:
                self._read()

    def remaining(self, sources: Iterable[str]) -> list[str]:
        """Those without a caption; failed ones are tried again."""
        sources = [source for source in sources if source not in self._done]
        self._failed = {source: self._failed[source] for source in sources if source in self._failed}
        return sources

    def write(self, made: Caption) -> None:
        """Append a row; one about an earlier failure of the source is replaced, unless it says the same."""
        error = None if made.error is None else str(made.error)
        if error is not None and self._failed.get(made.source) == error:
            del self._failed[made.source]
            return
        row = {name: getattr(made, name) for name in COLUMNS} | {"error": error}
        for name in ("matching", "classifier", "log_likelihood"):
            row[name] = None if row[name] is None else round(row[name], 6)
        with self._told():
            if made.source in self._failed:
                self._forget_failures()
            if self._is_cut:
                os.truncate(self.path, self._size)
                self._is_cut = False
            text = self.format.row(row) if self._size else self.format.header + self.format.row(row)
            with self.path.open("a", **TEXT) as file:
                self._size += file.write(text)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnwritableOutput(f"{self.path}: cannot be written ({error.strerror}); choose another --out") from None

    def _check(self, inputs: Iterable[str | Path]) -> None:
        reason = None
        if self.path.exists():
            if not self.path.is_file():
                reason = "is no regular file"
            elif not self.path.stat().st_mode & 0o222:  # the superuser could write it all the same
                reason = "is write-protected"
        own = os.path.realpath(self.path)
        if any(os.path.realpath(file) == own or _is_same(file, own) for file in inputs):
            reason = "is one of the files to read"
        if reason is not None:
            raise UnwritableOutput(f"{self.path}: {reason}; choose another --out")

    def _read(self) -> None:
        with self.path.open(**TEXT) as file:
            for number, record in enumerate(_records(file, self.format.is_whole), 1):
                if not self.format.is_whole(record) and self.format.may_be_cut(record, number):
                    self._is_cut = True
                    break
                self._take(record, number)
                self._size += len(record.encode(TEXT["encoding"], TEXT["errors"]))
        self._failed = {source: error for source, error in self._failed.items() if source not in self._done}

    def _take(self, record: str, number: int) -> None:
        if number == 1 and record == self.format.header:
            return
        row = self.format.parsed(record) if number > 1 or not self.format.header else None
        if row is None:
            raise UnwritableOutput(f"{self.path}: line {number} is not a caption of zscap; choose another --out")
        other = {name: row[name] for name, value in self.format.settings.items() if row[name] != value}
        if other:
            own = {name: self.format.settings[name] for name in other}
            raise UnwritableOutput(
                f"{self.path}: holds captions made with {json.dumps(other)}; choose another --out for {json.dumps(own)}"
            )
        if row.get("error"):
            self._failed[row["source"]] = row["error"]
        else:
            self._done.add(row["source"])

    def _forget_failures(self) -> None:
        """Write the file anew, whole or not at all, without the rows of failed sources that are still to be tried."""
        real = Path(os.path.realpath(self.path))
        new = real.with_name(f".{real.name}.new")
        with self.path.open(**TEXT) as file:
            records = list(_records(file, self.format.is_whole))
        kept = [each for each in records if self.format.is_whole(each) and self._is_kept(each)]
        new.write_text("".join(kept), **TEXT)
        shutil.copymode(real, new)
        new.replace(real)
        self._size, self._is_cut = real.stat().st_size, False
        self._failed.clear()

    def _is_kept(self, record: str) -> bool:
        row = self.format.parsed(record)
        return row is None or not row.get("error") or row["source"] not in self._failed


class _Lines:
    """JSON lines; what is None is left out of a failed source's row, and all but the error."""

    header = ""

    def __init__(self, settings: dict):
        self.settings = json.loads(json.dumps(settings))  # as they will be read

    def row(self, row: dict) -> str:
        names = COLUMNS[:-1] if row["error"] is None else ("source", "error")
        return json.dumps({name: row[name] for name in names} | self.settings) + "\n"

    def parsed(self, record: str) -> dict | None:
        """A row by name, or None if zscap didn't write it."""
        try:
            row = json.loads(record)
            is_own = isinstance(row["source"], str) and ("text" in row or "error" in row)
            return row if is_own and self.settings.keys() <= row.keys() else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def is_whole(self, record: str) -> bool:
        return record.endswith("\n")

    def may_be_cut(self, record: str, number: int) -> bool:
        """Whether a killed run may have written an incomplete last line."""
        if self.parsed(record):  # all but the line break
            return True
        try:
            json.loads(record)
        except ValueError:
            start = '{"source": "'
            begins = record[: len(start)] == start[: len(record)]
            return begins and (number > 1 or re.search(r'", "(text|error)": "', record) is not None)
        return False  # somebody else's


class _Table:
    """A CSV table, its header first; lists and options stand in its cells as JSON, None is empty."""

    def __init__(self, settings: dict):
        self.settings = {name: _cell(value) for name, value in settings.items()}
        self.names = (*COLUMNS, *settings)
        self.header = _csv(self.names)

    def row(self, row: dict) -> str:
        if row["error"] is not None:
            row = {"source": row["source"], "error": row["error"]}
        return _csv(_cell((row | self.settings).get(name)) for name in self.names)

    def parsed(self, record: str) -> dict | None:
        """A row by name, or None if zscap didn't write it."""
        cells = next(csv.reader(io.StringIO(record, newline="")), [])
        return dict(zip(self.names, cells, strict=True)) if len(cells) == len(self.names) else None

    def is_whole(self, record: str) -> bool:
        return record.endswith("\n") and record.count('"') % 2 == 0  # a quoted cell may hold line breaks

    def may_be_cut(self, record: str, number: int) -> bool:
        """Whether a killed run may have written an incomplete last row: it stands below zscap's header."""
        return number > 1


def _records(file: TextIO, is_whole) -> Iterator[str]:
    """The rows of a file, of which the last may be incomplete."""
    record = ""
    for line in file:
        record += line
        if is_whole(record):
            yield record
            record = ""
    if record:
        yield record


def _csv(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _cell(value: str | float | Sequence | dict | None) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _is_same(file: str | Path, other: str) -> bool:
    """Whether two names lead to one file, as hard links do."""
    return os.path.exists(file) and os.path.exists(other) and os.path.samefile(file, other)
