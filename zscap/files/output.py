"""Captions in a file, one row a source, JSON lines or a CSV table: a later run of the same settings goes on with it."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout

from ..errors import UnwritableOutput

if TYPE_CHECKING:
    from ..caption import Caption

COLUMNS = ("source", "text", "continuation", "tokens", "matching", "classifier", "log_likelihood", "error")
TEXT = "utf-8", "surrogateescape"  # names of files may be no UTF-8
BEGINNING = '{"source": "'  # of a row in JSON


class Output:
    """Rows of a file, appended source by source. What the file holds is checked here, and nothing changed.

    Args:
        path: a table if it ends in .csv, else JSON lines; its folder is made.
        settings: what the captions are made with, by name, written in every row; a file of others is refused.
        inputs: files that are read, which the output must not be. A row that was cut off is one of theirs.

    Raises:
        UnwritableOutput: the file cannot be written, is an input, holds anything but captions of these settings, or
            another run is writing it: until `close`, which leaving a `with` block calls, no other one may.
    """

    def __init__(self, path: Path, settings: dict, inputs: Sequence[str | Path] = ()):
        self.path = path
        self._file = Path(os.path.realpath(path))  # a link stays one
        self.is_table = path.suffix.lower() == ".csv"
        # As they will be read again: JSON knows no tuples, and the cells of a table are texts.
        self.settings = {name: _cell(value) if self.is_table else _plain(value) for name, value in settings.items()}
        self.header = _csv((*COLUMNS, *settings)) if self.is_table else ""
        self._records: dict[str, str] = {}  # by source, as they stand in the file
        self._failed: set[str] = set()
        self._is_cut = False
        with self._named():
            self._check(inputs)
        self._lock = FileLock(self._beside("lock"))
        try:
            with self._named():
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._acquire()
                if self._file.exists():
                    self._file.open("a").close()  # proves that it can be written; of a new one, the lock beside it does
                    self._read(inputs)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the file."""
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def remaining(self, sources: Iterable[str]) -> list[str]:
        """Those without a caption; failed ones are tried again."""
        sources = [source for source in sources if source not in self._records or source in self._failed]
        self._failed &= set(sources)
        return sources

    def rows(self) -> dict[str, dict]:
        """What the file holds of each source, by column; of a table, texts."""
        if not self.is_table:
            return {source: json.loads(record) for source, record in self._records.items()}
        table = csv.DictReader(io.StringIO(self.header + "".join(self._records.values()), newline=""))
        return {row["source"]: row for row in table}

    def write(self, made: Caption) -> None:
        """Append a row; the first time, rows of failures that are tried again go, and what a killed run left over."""
        row = {name: getattr(made, name) for name in COLUMNS}
        if made.error is None:
            row |= {name: _rounded(row[name]) for name in ("matching", "classifier", "log_likelihood")}
        else:
            row = {"source": made.source, "error": str(made.error)}
        record = self._record(row)
        if self._records.get(made.source) == record:  # it failed as it did before
            self._failed.discard(made.source)
            return
        with self._named():
            if self._failed or self._is_cut or not self._records:
                self._records = {name: each for name, each in self._records.items() if name not in self._failed}
                self._replace(self.header + "".join(self._records.values()))
            self._failed, self._is_cut = set(), False
            self._records[made.source] = record
            with self._file.open("ab") as file:
                file.write(record.encode(*TEXT))

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
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
        """Take every row, and find out whether a killed run left the beginning of one behind them."""
        opening = (self.header or BEGINNING).encode(*TEXT)
        with self._file.open("rb") as file:
            begun = file.read(len(opening))
            if not opening.startswith(begun):
                self._refuse(1)  # without reading all of what may be large
            text = (begun + file.read()).decode(*TEXT)
        end = text.rfind("\n") + 1
        quotes = text.count('"', 0, end) if self.is_table else 0
        while quotes % 2:  # a quoted cell may hold line breaks
            start = text.rfind("\n", 0, end - 1) + 1
            quotes -= text.count('"', start, end)
            end = start
        whole, rest = text[:end], text[end:]
        self._is_cut = bool(rest)
        if self.is_table:
            is_own = not text if not whole else self._is_begun(rest, sources)
            try:
                names, *lines = csv.reader(io.StringIO(whole if whole else self.header, newline=""))
            except csv.Error:  # a cell of megabytes
                self._refuse(1)
            rows = [dict(zip(names, cells, strict=False)) if len(cells) == len(names) else {} for cells in lines]
            records = [_csv(row.values()) for row in rows]
        else:
            records = [line + "\n" for line in whole.split("\n")[:-1]]
            rows = [_parsed(record) for record in records]
            is_own = self._is_begun(rest, sources)
            if rest and not whole:  # without rows before it, it must show more of itself, and be no row of others
                is_own &= len(rest) > len(BEGINNING) and not self._is_others(rest)
        if not is_own and not rows:
            self._refuse(1 + (self.is_table and bool(whole)))
        for number, (row, record) in enumerate(zip(rows, records, strict=True), 1 + self.is_table):
            if not isinstance(row.get("source"), str) or not self.settings.keys() <= row.keys():
                self._refuse(number)
            self._compare(row)
            self._records[row["source"]] = record
            (self._failed.add if row.get("error") else self._failed.discard)(row["source"])
        if not is_own:
            self._refuse(len(rows) + 1 + self.is_table)

    def _is_begun(self, rest: str, sources: Iterable[str | Path]) -> bool:
        """Whether it is nothing, or the beginning of one row of a source, and not what a stray quote has swallowed."""
        opened = (lambda name: _csv([name])[:-1]) if self.is_table else (lambda name: json.dumps({"source": name})[:-1])
        begun = (opened(str(source)) + "," for source in sources)
        is_whole = self.is_table and "," + _csv(self.settings.values()) in rest
        return not rest or (not is_whole and any(each.startswith(rest) or rest.startswith(each) for each in begun))

    def _is_others(self, record: str) -> bool:
        """Whether it is whole JSON, and no row of these settings."""
        try:
            return not self.settings.keys() <= json.loads(record).keys()
        except (ValueError, AttributeError, RecursionError):
            return False

    def _refuse(self, number: int) -> None:
        raise UnwritableOutput(f"{self.path}: line {number} is not a caption of zscap; choose another --out")

    def _compare(self, row: dict) -> None:
        other, own = _apart({name: row[name] for name in self.settings}, self.settings)
        if other:
            raise UnwritableOutput(
                f"{self.path}: holds captions made with {json.dumps(other)}; choose another --out for {json.dumps(own)}"
            )

    def _record(self, row: dict) -> str:
        if self.is_table:
            return _csv(_cell((row | self.settings).get(name)) for name in (*COLUMNS, *self.settings))
        row = {name: value for name, value in row.items() if name != "error" or value is not None}
        return json.dumps(row | self.settings) + "\n"

    def _beside(self, suffix: str) -> Path:
        """A file of zscap's own in the same folder."""
        return self._file.with_name(f".{self._file.name}.zscap-{suffix}")

    def _acquire(self) -> None:
        """Take the lock; of a run that is killed, the system takes it back."""
        holder = Path(self._lock.lock_file)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            with suppress(FileNotFoundError):  # it has just ended
                name = holder.read_text() or "another run"
                raise UnwritableOutput(f"{self.path}: {name} is writing it; wait, or choose another --out") from None
            raise UnwritableOutput(f"{self.path}: another run was writing it; try again") from None
        holder.write_text(f"process {os.getpid()} on {platform.node()}")

    def _replace(self, text: str) -> None:
        """Write the file anew, whole or not at all."""
        new = self._beside("new")
        new.unlink(missing_ok=True)  # of a run that was killed; a link would lead elsewhere
        with new.open("xb") as file:
            file.write(text.encode(*TEXT))
        if self._file.exists():
            shutil.copymode(self._file, new)
        new.replace(self._file)


def write_whole(path: Path, text: str, option: str) -> None:
    """Write a file whole or not at all.

    Raises:
        UnwritableOutput: it cannot be written; `option` is what named it.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8", errors="surrogateescape")
        new.replace(path)
    except OSError as error:
        raise UnwritableOutput(f"{path}: cannot be written ({error.strerror}); choose another {option}") from None


def _parsed(record: str) -> dict:
    """A row of JSON, empty if it is none of zscap's."""
    try:
        row = json.loads(record)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) and ("text" in row or "error" in row) else {}


def _csv(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # which puts cells with either of them in quotes
    return text.getvalue()[:-2] + "\n"


def _cell(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _plain(value: object) -> object:
    return json.loads(json.dumps(value))


def _apart(first: dict, second: dict) -> tuple[dict, dict]:
    """What two dicts differ in, of each its own value; of dicts in them likewise."""
    ours = {name: value for name, value in first.items() if name not in second or second[name] != value}
    theirs = {name: value for name, value in second.items() if name not in first or first[name] != value}
    for name in ours.keys() & theirs.keys():
        if isinstance(ours[name], dict) and isinstance(theirs[name], dict):
            ours[name], theirs[name] = _apart(ours[name], theirs[name])
    return ours, theirs


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
