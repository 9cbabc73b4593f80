"""Recordings, images and video: found, read and checked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UnreadableSource
from ..roles import Source, source_name
from .common import SUFFIXES, is_video_file, is_visual
from .sound import has_sound, read_audio
from .vision import read_frames, read_image, read_video

__all__ = [
    "SUFFIXES",
    "Found",
    "Source",
    "find_sources",
    "is_video_file",
    "is_visual",
    "read_audio",
    "read_frames",
    "read_image",
    "read_video",
    "source_name",
]


@dataclass
class Found:
    """What paths lead to.

    Attributes:
        sources: files, none twice.
        errors: of folders that hold nothing that was looked for, or cannot be opened.
        notes: how many other files each folder holds.
    """

    sources: list[str] = field(default_factory=list)
    errors: list[UnreadableSource] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_sources(paths: Iterable[str | Path], kinds: Sequence[str] = ("audio",)) -> Found:
    """Files as they are named; folders walked in sorted order for files whose suffix shows the kind.

    Args:
        kinds: what to look for in folders, of "audio", "image" and "video". A video with sound counts as audio.
    """
    found = Found()
    for path in map(Path, paths):
        if not os.path.isdir(path):
            found.sources.append(str(path))
            continue
        before = len(found.errors)
        files = sorted(_files(path, found.errors))
        wanted = {file: _is_one_of(kinds, file) for file in files}
        found.sources += (str(file) for file in files if wanted[file])
        others = Counter(file.suffix.lower() or "no suffix" for file in files if not wanted[file])
        listed = ", ".join(suffix for suffix, _ in others.most_common(5)) + (", ..." if len(others) > 5 else "")
        number = f"{others.total()} other file{'s' * (others.total() != 1)}"
        if not any(wanted.values()) and len(found.errors) == before:
            among = f" among {number} ({listed})" if others else ""
            looked = " ".join(suffix for kind in kinds for suffix in SUFFIXES[kind])
            found.errors.append(
                UnreadableSource(f"{path}: no {' or '.join(kinds)} in this folder{among}; looked for {looked}")
            )
        elif others:
            found.notes.append(f"{path}: {number} left out ({listed})")
    found.sources = list(dict.fromkeys(found.sources))
    return found


def _files(folder: Path, errors: list[UnreadableSource]) -> Iterator[Path]:
    """The regular files below a folder; of folders that cannot be opened, errors."""

    def refuse(error: OSError) -> None:
        errors.append(UnreadableSource(f"{error.filename}: cannot be opened ({error.strerror}); check permissions"))

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names if os.path.isfile(os.path.join(parent, name)))


def _is_one_of(kinds: Sequence[str], file: Path) -> bool:
    suffix = file.suffix.lower()
    if "audio" in kinds and "video" not in kinds and suffix in SUFFIXES["video"]:
        return has_sound(file)
    return any(suffix in SUFFIXES[kind] for kind in kinds)
