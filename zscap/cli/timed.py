"""Captions and events with times: `zscap caption --windows` and `--events`."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidOption, UnreadableSource, UnwritableOutput, one_line
from ..files.output import Output, row_of, write_whole
from ..files.timed import SUFFIXES, Line, times, write_lines
from ..sources import seconds_of, stretches

if TYPE_CHECKING:
    from ..caption import Caption
    from ..decoding import Captioner
    from ..roles import Event, Source

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
    """Whether the output is a file of lines with times.

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
    if windows and report:
        raise InvalidOption("--report: shows one caption a recording; leave out --windows")
    suffix = "" if out is None else out.suffix.lower()
    if suffix in (".vtt", ".srt") and not (windows or events):
        raise InvalidOption(f"{out}: holds lines with times; add --windows 10 or --events")
    timed = suffix in SUFFIXES and bool(windows or events)
    if timed and len(sources) > 1:
        raise InvalidOption(f"{out}: holds the times of one recording, not of {len(sources)}; choose a .csv or .jsonl")
    if timed and not sources:
        raise InvalidOption(f"{out}: holds the times of a recording, and none is found")
    if out is not None and out.exists() and (events or (timed and not rows_beside(out).exists())):
        raise UnwritableOutput(f"{out}: is there already; choose another --out")
    if out is not None and events:  # before an hour is listened to
        with suppress(OSError):
            out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, "", "--out")
        out.unlink()
    return timed


def rows_beside(out: Path) -> Path:
    """Where the rows lie that a file of lines with times is made of, so that a run can go on."""
    return out.with_name(f"{out.name}.jsonl")


class Stretches:
    """The stretches of recordings that have no row yet, as sources; a recording that can't be read is one itself.

    Args:
        seconds: of a stretch.
        output: with the rows of those that have one.
    """

    def __init__(self, recordings: Sequence[str], seconds: float, output: Output | None):
        self.recordings, self.seconds, self.output = recordings, seconds, output
        self._names: dict[str, None] = {}  # of those that went by

    def __length_hint__(self) -> int:
        return sum(math.ceil(seconds_of(recording) / self.seconds) for recording in self.recordings)

    def __iter__(self) -> Iterator[Source]:
        for recording in self.recordings:
            try:
                for stretch in stretches(recording, self.seconds):
                    self._names[stretch.name] = None
                    row = {} if self.output is None else self.output.row(stretch.name)
                    if not row or row.get("error"):
                        yield stretch
            except UnreadableSource:
                yield recording  # its error is said where it is captioned

    def is_silent(self, made: Caption) -> bool:
        """Whether a caption's error is that of a stretch without sound: of what was cut nothing else is unreadable."""
        return isinstance(made.error, UnreadableSource) and made.source in self._names

    def write(self, out: Path) -> None:
        """Write the captions of all stretches as lines with times."""
        write_lines(out, [Line(*times(name), self.output.row(name)["text"]) for name in self._names])


def listen(captioner: Captioner, recordings: Sequence[str], out: Path | None) -> int:
    """Say which sounds are heard when, on stdout or in a file. Returns how many recordings failed."""
    from tqdm import tqdm

    heard: list[tuple[str, Event]] = []
    failed = 0
    try:
        for recording in tqdm(recordings, unit="recording", disable=None):
            try:
                events = captioner.listen(recording)
            except UnreadableSource as error:
                log.error(error)
                failed += 1
                continue
            heard += [(recording, event) for event in events]
            for event in events if out is None else ():
                tqdm.write("\t".join(map(str, _row(recording, event).values())), file=sys.stdout)
    finally:  # what was heard before an interruption is kept
        if out is not None and heard:
            _write(out, heard)
    if out is not None:
        log.info("%d events in %d recordings, %d failed: %s", len(heard), len(recordings), failed, out)
    return failed


def _row(recording: str, event: Event) -> dict:
    values = event._asdict() | {"source": one_line(recording)}
    return {name: values[name] for name in EVENT}


def _write(out: Path, heard: list[tuple[str, Event]]) -> None:
    rows = [_row(*each) for each in heard]
    if out.suffix.lower() in SUFFIXES:
        write_lines(out, [Line(event.start, event.end, event.name) for _, event in heard])
    elif out.suffix.lower() == ".csv":
        write_whole(out, row_of(EVENT) + "".join(row_of(row.values()) for row in rows), "--out")
    else:
        write_whole(out, "".join(json.dumps(row) + "\n" for row in rows), "--out")
