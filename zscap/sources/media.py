"""What every reader of sources shares: which files there are, and how one is checked and opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from ..errors import UnreadableSource, ZscapError
from ..roles import Source

SUFFIXES = {
    "audio": (
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf"),
        *(".m4a", ".aac", ".wma", ".mka", ".weba", ".amr"),
    ),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "video": (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".3gp"),
}

# All that FFmpeg may take a file for: it also knows play lists, which name other files.
CONTAINERS = (
    "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,asf,ac3,amr,voc,wv,ape,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,"
    "mpeg,mpegvideo,mpegts,m4v,h264,hevc,ivf"
)


def is_video_file(source: Source) -> bool:
    """Whether a source is a video as a path, which may have sound."""
    return isinstance(source, (str, Path)) and Path(source).suffix.lower() in SUFFIXES["video"]


def first_bytes(path: str | Path) -> bytes:
    """How a file begins, 12 bytes.

    Raises:
        OSError, TypeError, ValueError: no such file, no path, or it cannot be opened.
        UnreadableSource: no regular file.
    """
    if not stat.S_ISREG(os.stat(Path(path)).st_mode):
        raise UnreadableSource(f"{path}: is no regular file; name files, not folders, pipes or devices")
    with open(path, "rb") as file:
        return file.read(12)


@contextmanager
def reading_source(name: str, what: str, fix: str) -> Iterator[None]:
    """Turns whatever a damaged file makes a library raise into UnreadableSource: one source must not end a run."""
    try:
        yield
    except ZscapError:
        raise
    except FileNotFoundError:
        raise UnreadableSource(f"{name}: no such file; check the path") from None
    except ImportError as error:
        raise UnreadableSource(f"{name}: {what} cannot be read ({error}); pip install 'zscap[vision]'") from None
    except Exception as error:  # each library raises its own, Pillow and PyAV half a dozen kinds
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
        raise UnreadableSource(f"{name}: not readable as {what} ({reason}); give {fix}") from None


def open_media(path: str | Path, start: int = 0, end: int = 0) -> av.container.InputContainer:
    """A media file, or some of its bytes, opened by FFmpeg, which may open no other file or address that it names."""
    options = {"protocol_whitelist": "file,subfile", "format_whitelist": CONTAINERS}
    if first_bytes(path)[8:] == b"WAVE":
        options["probesize"] = "4096"  # else it looks for 70 ms whether the samples are other sound in disguise
    part = f"subfile,,start,{start},end,{end},,:" if start or end else ""
    # file: - a name may hold a colon; the tags of old files may be in any encoding, and are not read.
    return av.open(f"{part}file:{path}", options=options, metadata_errors="ignore")


def seconds_of(path: str | Path) -> float:
    """How long a media file says that it is; 0 where it doesn't say."""
    with suppress(OSError, ValueError, UnreadableSource, av.error.FFmpegError), open_media(path) as container:
        return (container.duration or 0) / av.time_base
    return 0.0
