"""What every reader of sources shares: what a source is, what it is called, and how its file is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from PIL import Image

from ..errors import UnreadableSource, ZscapError
from ..roles import Source

if TYPE_CHECKING:
    from av.container import InputContainer


SUFFIXES = {
    "audio": (
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"),  # libsndfile reads these
        *(".m4a", ".aac", ".wma", ".mka", ".weba", ".caf"),
    ),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "video": (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".3gp"),
}


_STDERR = Lock()  # one thread at a time puts it aside

# All that FFmpeg may take a file for: it also knows play lists, which name other files.
CONTAINERS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpeg", "mpegvideo", "mpegts", "m4v", "h264", "hevc", "ivf"),
    *("wav", "w64", "aiff", "au", "caf", "flac", "ogg", "mp3", "aac", "asf", "ac3", "amr", "voc", "wv", "ape", "flv"),
)


def is_visual(source: Source) -> bool:
    """Whether a source is an image or a video, as far as its type or its file's name shows."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix.lower() in SUFFIXES["image"] + SUFFIXES["video"]
    return isinstance(source, Image.Image) or are_frames(source)


def is_video_file(source: Source) -> bool:
    """Whether a source is a video as a path, which may have sound."""
    return isinstance(source, (str, Path)) and Path(source).suffix.lower() in SUFFIXES["video"]


def are_frames(source: Source) -> bool:
    """Whether a source is a video given as its frames."""
    return (
        isinstance(source, (tuple, list))
        and len(source) > 0
        and all(isinstance(frame, Image.Image) for frame in source)
    )


def check_file(path: str | Path, name: str, what: str) -> None:
    """Raises UnreadableSource, which calls the source `name`, unless `path` names a regular file that can be read."""
    if not isinstance(path, (str, Path)):
        raise UnreadableSource(f"{name}: not a source of {what}; give a path, many of them in a list")
    try:
        mode = os.stat(path).st_mode
        reason = None if stat.S_ISREG(mode) else "is no regular file; copy what it gives into one"
        if stat.S_ISDIR(mode):
            reason = "is a folder; name its files"
        elif reason is None:
            open(path, "rb").close()
    except FileNotFoundError:
        reason = "no such file; check the path"
    except (OSError, ValueError) as error:  # ValueError: the path holds a null character
        reason = f"cannot be opened ({getattr(error, 'strerror', None) or error}); check path and permissions"
    if reason is not None:
        raise UnreadableSource(f"{name}: {reason}")


@contextmanager
def reading_source(name: str, what: str, fix: str) -> Iterator[None]:
    """Turns whatever a damaged file makes a library raise into UnreadableSource: one source must not end a run."""
    try:
        yield
    except ZscapError:
        raise
    except MemoryError:
        raise UnreadableSource(f"{name}: takes more memory than there is; give a smaller file") from None
    except Exception as error:  # each library raises its own, Pillow and PyAV half a dozen kinds
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
        raise UnreadableSource(f"{name}: not readable as {what} ({reason}); give {fix}") from None


@contextmanager
def silent() -> Iterator[None]:
    """Some libraries write what they find wrong to the process's stderr, past Python, and then say it once more."""
    with _STDERR:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def open_media(path: str | Path) -> InputContainer:
    """A media file, opened by FFmpeg, which may open no other file or address that it names."""
    import av  # late: 0.1 s

    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
    # file: - a name may hold a colon; the tags of old files may be in any encoding, and are not read.
    return av.open(f"file:{path}", options=options, metadata_errors="ignore")
