"""Captions in a file, one row a source, JSON lines or a CSV table: a later run of the same settings goes on with it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..errors import UnwritableOutput, one_line

if TYPE_CHECKING:
    from ..caption import Caption

NUMBERS = "matching", "classifier", "log_likelihood", "confidence"
COLUMNS = ("source", "text", "continuation", "tokens", *NUMBERS, "events", "error")
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # names of files may be no UTF-8
BEGINNING = '{"source": "'  # of a row in JSON


class Output(AbstractContextManager):
    """Rows of a file, appended source by source, each in a line. What the file holds is checked here, nothing changed.

    Args:
        path: a table if it ends in .csv, else JSON lines; its folder is made. In a table, what would break a line is
            written as in Python, such as \\n.
        settings: what the captions are made with, by name, written in every row; a file of others is refused.
        inputs: files that are read, which the output must not be. A row that was cut off is one of theirs.

    Raises:
        UnwritableOutput: the file cannot be written, is an input, holds anything but captions of these settings, or
            another run is writing it: until the `with` block is left, no other one may.
    """

    def __init__(self, path: Path, settings: dict, inputs: Sequence[str | Path] = ()):
        self.path = path
        self._file = Path(os.path.realpath(path))  # a link stays one
        self.is_table = path.suffix.lower() == ".csv"
        self.settings = json.loads(json.dumps(settings))  # as they will be read again: JSON knows no tuples
        if self.is_table:
            self.settings = {name: _cell(value) for name, value in settings.items()}
        self._columns = (*COLUMNS, *settings)
        self._header = row_of(self._columns) if self.is_table else ""
        self._lines: dict[str, str] = {}  # by source, as they stand in the file
        self._failed: set[str] = set()
        self._can_grow = False  # else the next row comes with all that is kept, whole or not at all
        self._lock = FileLock(self._file.parent / f".{self._file.name}.zscap-lock")
        try:
            with self._named():
                self._check(inputs)
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(blocking=False)  # the system takes back that of a run that is killed
                if self._file.exists():
                    self._file.open("a").close()  # proves that it can be written; of a new one, the lock beside it does
                    self._read(inputs)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        """Let other runs have the file."""
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def remaining(self, sources: Iterable[str]) -> list[str]:
        """Those without a caption; failed ones are tried again."""
        left = {one_line(source): source for source in sources}
        left = {key: source for key, source in left.items() if key not in self._lines or key in self._failed}
        self._failed &= left.keys()
        return list(left.values())

    def row(self, source: str) -> dict:
        """What the file holds of a source, by column: of a table, texts. Empty if it has no row."""
        return self._parsed(self._lines.get(one_line(source), ""))

    def __iter__(self) -> Iterator[dict]:
        """All rows, as `row` gives them, in the order of the file."""
        return map(self._parsed, self._lines.values())

    def write(self, made: Caption) -> None:
        """Append a row; the first time, rows of failures that are tried again go, and what a killed run left over."""
        row = {"source": made.source, "error": str(made.error)}
        if made.error is None:
            row = {name: getattr(made, name) for name in COLUMNS if name != "error"}
            row = {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}
            row["events"] = [event._asdict() for event in made.events]
        key, line = one_line(made.source), self._line(row)
        if self._lines.get(key) == line:  # it failed as it did before
            self._failed.discard(key)
            return
        kept = {name: each for name, each in self._lines.items() if name not in self._failed}
        if self._can_grow and not self._failed:
            with self._named(), self._file.open("a", **TEXT) as file:
                file.write(line)
        else:
            write_whole(self._file, self._header + "".join(kept.values()) + line, "--out")
        self._lines, self._failed, self._can_grow = kept | {key: line}, set(), True

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise UnwritableOutput(f"{self.path}: another run is writing it; wait, or choose another --out") from None
        except OSError as error:
            raise UnwritableOutput(f"{self.path}: cannot be written ({error.strerror}); choose another --out") from None

    def _check(self, inputs: Iterable[str | Path]) -> None:
        reason, exists = None, self._file.exists()
        if exists and not self._file.is_file():
            reason = "is no regular file"
        elif self._file.parent.exists() and not self._file.parent.is_dir():
            reason = "lies in a file, which is no folder"
        elif exists and not self._file.stat().st_mode & 0o222:  # the superuser could write it all the same
            reason = "is write-protected"
        for file in inputs:
            if os.path.realpath(file) == str(self._file) or (
                exists and os.path.exists(file) and self._file.samefile(file)
            ):
                reason = "is one of the files to read"
        if reason is not None:
            raise UnwritableOutput(f"{self.path}: {reason}; choose another --out")

    def _read(self, sources: Iterable[str | Path]) -> None:
        """Take every row, and what a killed run left behind them: the beginning of one."""
        opening = self._header or BEGINNING
        with self._file.open(**TEXT) as file:
            text = file.read(len(opening))
            if text not in ("", opening):
                self._refuse(1)  # without reading all of what may be large
            *lines, rest = (text + file.read()).split("\n")
        for number, line in enumerate(lines, 1):
            if self.is_table and number == 1:
                continue
            row = self._parsed(line)
            if not isinstance(row.get("source"), str) or not self.settings.keys() <= row.keys():
                self._refuse(number)
            theirs = {name: row[name] for name in self.settings}
            if theirs != self.settings:
                made, asked = json.dumps(_apart(theirs, self.settings)), json.dumps(_apart(self.settings, theirs))
                raise UnwritableOutput(
                    f"{self.path}: holds captions made with {made}; choose another --out for {asked}"
                )
            key = one_line(row["source"])
            self._lines[key] = line + "\n"
            (self._failed.add if row.get("error") else self._failed.discard)(key)
        begun = [begin for source in sources if self._lines for begin in self._begun(str(source))]
        if rest and not any(each.startswith(rest) or rest.startswith(each) for each in begun):
            self._refuse(len(lines) + 1)
        self._can_grow = bool(lines) and not rest

    def _refuse(self, number: int) -> None:
        raise UnwritableOutput(f"{self.path}: line {number} is not a caption of zscap; choose another --out")

    def _line(self, row: dict) -> str:
        row = row | self.settings
        return row_of(map(row.get, self._columns)) if self.is_table else json.dumps(row) + "\n"

    def _begun(self, source: str) -> tuple[str, str]:
        """The beginning of its row, and of those of its stretches."""
        if self.is_table:  # a stretch's name has a comma, so it stands in quotes
            return row_of([source, ""])[:-1], row_of([f"{source}#t=,"])[: -len(',"\n')]
        return json.dumps({"source": source})[:-1] + ",", json.dumps({"source": f"{source}#t="})[: -len('"}')]

    def _parsed(self, line: str) -> dict:
        """A row; empty if it is none."""
        try:
            if self.is_table:
                (cells,) = csv.reader([line])
                return dict(zip(self._columns, cells, strict=True))
            row = json.loads(line)
        except (ValueError, RecursionError, csv.Error):
            return {}
        return row if isinstance(row, dict) else {}


def write_whole(path: Path, text: str, option: str) -> None:
    """Write a file whole or not at all.

    Raises:
        UnwritableOutput: it cannot be written; `option` is what named it.
    """
    new = path.with_name(f".{path.name}.zscap-new")
    try:
        new.unlink(missing_ok=True)  # of a run that was killed; a link would lead elsewhere
        with new.open("x", **TEXT) as file:
            file.write(text)
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except OSError as error:
        raise UnwritableOutput(f"{path}: cannot be written ({error.strerror}); choose another {option}") from None


def row_of(cells: Iterable[object]) -> str:
    """A line of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(_cell, cells))
    return text.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, str):
        return one_line(value)
    return "" if value is None else json.dumps(value)


def _apart(one: dict, other: dict) -> dict:
    """What one dict has otherwise than another; of dicts in it likewise."""
    found = {name: value for name, value in one.items() if name not in other or other[name] != value}
    for name, value in found.items():
        if isinstance(value, dict) and isinstance(other.get(name), dict):
            found[name] = _apart(value, other[name])
    return found
