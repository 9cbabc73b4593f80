"""Captions and events with times: `zscap caption --windows` and `--events`."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidOption, UnreadableSource, UnwritableOutput, one_line
from ..files.output import Output, row_of, write_whole
from ..files.timed import SUFFIXES, Line, times, write_lines
from ..sources import seconds_of, stretches

if TYPE_CHECKING:
    from ..decoding import Captioner
    from ..roles import Source

log = logging.getLogger("zscap")
EVENT = ("source", "start", "end", "confidence", "name")


def check_times(
    out: Path | None,
    sources: Sequence[str],
    takes: Sequence[str],
    windows: float | None,
    events: bool,
    report: Path | None,
) -> bool:
    """Whether the output is a file with times, made of rows that lie beside it.

    Raises:
        InvalidOption: options that don't go together.
        UnwritableOutput: the file is there already, and not of a run that goes on.
    """
    if events and (windows or report):
        raise InvalidOption(f"--events: makes no captions; leave out --{'windows' if windows else 'report'}")
    if windows and "audio" not in takes:
        raise InvalidOption(
            f"--windows: cuts recordings, and the preset takes {' and '.join(takes)}; choose another one"
        )
    is_lines = out is not None and out.suffix.lower() in SUFFIXES
    if is_lines and out.suffix.lower() != ".txt" and not (windows or events):
        raise InvalidOption(f"{out}: holds lines with times; add --windows 10 or --events")
    timed = is_lines and bool(windows or events)
    if timed and len(sources) > 1:
        raise InvalidOption(f"{out}: holds the times of one recording, not of {len(sources)}; choose a .csv or .jsonl")
    if timed and not sources:
        raise InvalidOption(f"{out}: holds the times of a recording, and none is found")
    beside = timed or (events and out is not None)
    if beside and out.exists() and not rows_beside(out).exists():
        raise UnwritableOutput(f"{out}: is there already; choose another --out")
    return beside


def rows_beside(out: Path) -> Path:
    """Where the rows lie that a file with times is made of, so that a run can go on."""
    return out.with_name(f"{out.name}.jsonl")


class Stretches:
    """The stretches of recordings that have no row yet, as sources; a recording that can't be read is one itself.

    Args:
        seconds: of a stretch.
        output: with the rows of those that have one.

    Attributes:
        names: of all that went by, those with a row included, and whether each is a stretch.
    """

    def __init__(self, recordings: Sequence[str], seconds: float, output: Output | None):
        self.recordings, self.seconds, self.output = recordings, seconds, output
        self.names: dict[str, bool] = {}

    def __length_hint__(self) -> int:
        there = Counter(row["source"].rpartition("#t=")[0] for row in self.output or () if not row.get("error"))
        numbers = ((math.ceil(seconds_of(each) / self.seconds), there[one_line(each)]) for each in self.recordings)
        return sum(max(0, number - done) for number, done in numbers)

    def __iter__(self) -> Iterator[Source]:
        for recording in self.recordings:
            try:
                for stretch in stretches(recording, self.seconds):
                    self.names[stretch.name] = True
                    row = {} if self.output is None else self.output.row(stretch.name)
                    if not row or row.get("error"):
                        yield stretch
            except UnreadableSource:
                self.names[recording] = False
                yield recording  # its error is said where it is captioned


def listen(captioner: Captioner, recordings: Sequence[str], output: Output | None, rows: dict[str, dict]) -> int:
    """Say which sounds are heard when, on stdout or in a file, and in rows by source. Returns how many failed."""
    from tqdm import tqdm

    from ..caption import Caption

    failed, ends = 0, 0.0
    lengths = list(map(seconds_of, recordings))
    with tqdm(total=round(sum(lengths)) or None, unit="s", disable=None) as bar:  # seconds of sound
        for recording, length in zip(recordings, lengths, strict=True):
            begins, ends = ends, ends + length
            try:
                events = captioner.listen(recording, lambda at, begins=begins: bar.update(int(begins + at) - bar.n))
                made = Caption(recording, events=events)
            except UnreadableSource as error:
                log.error(error)
                failed += 1
                made = Caption(recording, error=error)
            bar.update(int(ends) - bar.n)
            rows[recording] = vars(made)
            if output is not None:
                output.write(made)
            for event in made.events if output is None else ():
                tqdm.write("\t".join(map(str, _row(recording, event._asdict()).values())), file=sys.stdout)
    return failed


def write_times(out: Path, output: Output) -> None:
    """Write the events of all rows, or if they are of stretches their captions, as lines with times or as a table."""
    if "windows" in output.settings:
        write_lines(out, sorted(Line(*times(row["source"]), row["text"]) for row in output))
        return
    rows = [_row(row["source"], event) for row in output for event in row.get("events", ())]
    if out.suffix.lower() in SUFFIXES:
        write_lines(out, [Line(row["start"], row["end"], row["name"]) for row in rows])
    elif out.suffix.lower() == ".csv":
        write_whole(out, row_of(EVENT) + "".join(row_of(row.values()) for row in rows), "--out")
    else:
        write_whole(out, "".join(json.dumps(row) + "\n" for row in rows), "--out")


def _row(recording: str, event: dict) -> dict:
    values = event | {"source": one_line(recording)}
    return {name: values[name] for name in EVENT}
