"""Sources found: files as they are named, folders walked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UnreadableSource
from .media import SUFFIXES, open_media


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
        closed: list[OSError] = []
        inside = (Path(parent, name) for parent, _, names in os.walk(path, onerror=closed.append) for name in names)
        files = sorted(file for file in inside if os.path.isfile(file))
        wanted = [file for file in files if _is_one_of(kinds, file)]
        found.sources += map(str, wanted)
        for error in closed:
            reason = f"cannot be opened ({error.strerror}); check permissions"
            found.errors.append(UnreadableSource(f"{error.filename}: {reason}"))
        others = Counter(file.suffix.lower() or "no suffix" for file in files if file not in wanted)
        listed = ", ".join(suffix for suffix, _ in others.most_common(5)) + (", ..." if len(others) > 5 else "")
        left = f"{others.total()} other file{'s' * (others.total() != 1)} left out ({listed or 'none'})"
        if not wanted and not closed:
            found.errors.append(UnreadableSource(f"{path}: no {' or '.join(kinds)} in this folder; {left}"))
        elif others:
            found.notes.append(f"{path}: {left}")
    found.sources = list(dict.fromkeys(found.sources))
    return found


def _is_one_of(kinds: Sequence[str], file: Path) -> bool:
    suffix = file.suffix.lower()
    if "audio" in kinds and "video" not in kinds and suffix in SUFFIXES["video"]:
        with suppress(Exception), open_media(file) as container:
            return bool(container.streams.audio)
        return True  # its reader will say what is wrong with it
    return any(suffix in SUFFIXES[kind] for kind in kinds)
