"""Lines with times, as players and editors read them: WebVTT and SubRip subtitles, Audacity's labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import one_line
from .output import write_whole

SUFFIXES = (".vtt", ".srt", ".txt")
FRAGMENT = re.compile(r"#t=([\d.]+),([\d.]+)$")  # of a stretch's name


class Line(NamedTuple):
    """A text, and when it holds, in seconds."""

    start: float
    end: float
    text: str


def times(name: str) -> tuple[float, float]:
    """When a stretch starts and ends, by its name: (10.0, 20.0) of "talk.wav#t=10,20"."""
    start, end = FRAGMENT.search(name).groups()
    return float(start), float(end)


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write lines whole or not at all, in the format that the file's suffix names: one of SUFFIXES.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    write_whole(path, FORMATS[path.suffix.lower()](lines), "--out")


def _vtt(lines: Iterable[Line]) -> str:
    return "WEBVTT\n\n" + "".join(f"{_clock(a)} --> {_clock(b)}\n{_escaped(text)}\n\n" for a, b, text in lines)


def _srt(lines: Iterable[Line]) -> str:
    cues = (f"{_clock(a)} --> {_clock(b)}\n{one_line(text)}\n\n".replace(".", ",", 2) for a, b, text in lines)
    return "".join(f"{number}\n{cue}" for number, cue in enumerate(cues, 1))


def _labels(lines: Iterable[Line]) -> str:
    return "".join(f"{start:.6f}\t{end:.6f}\t{one_line(text)}\n" for start, end, text in lines)


def _clock(seconds: float) -> str:
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"


def _escaped(text: str) -> str:
    """In WebVTT < opens a tag, and --> is an arrow."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


FORMATS = dict(zip(SUFFIXES, (_vtt, _srt, _labels), strict=True))
