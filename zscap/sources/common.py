"""What every reader of sources shares: what a source is, what it is called, and how its file is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from ..errors import UnreadableSource

if TYPE_CHECKING:
    from av.container import InputContainer

Source: TypeAlias = "str | Path | tuple[np.ndarray, int] | Image.Image | tuple[Image.Image, ...]"

SUFFIXES = {
    "audio": (
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"),  # libsndfile reads these
        *(".m4a", ".aac", ".wma", ".mka", ".weba", ".caf"),
    ),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "video": (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".3gp"),
}


def source_name(source: Source) -> str:
    """What messages and tables call a source: its path, or the shape of its samples or pixels."""
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or f"image of {source.width} x {source.height} pixels"
    if are_frames(source):
        return f"video of {len(source)} frames"
    if isinstance(source, tuple) and len(source) == 2:
        return f"array of shape {np.shape(source[0])} at {source[1]} Hz"
    return str(source) if isinstance(source, (str, Path)) else f"{type(source).__name__} given as a source"


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
    """Raises UnreadableSource, which calls the source `name`, unless `path` is a file's."""
    if not isinstance(path, (str, Path)):
        raise UnreadableSource(f"{name}: not a source of {what}; give a path, many of them in a list")
    if not Path(path).is_file():
        reason = "is a folder; name its files" if Path(path).is_dir() else "no such file; check the path"
        raise UnreadableSource(f"{name}: {reason}")


def open_media(path: str | Path) -> InputContainer:
    """A media file, opened by FFmpeg, which may open no other file or address that it names."""
    import av  # late: 0.1 s

    return av.open(f"file:{path}", options={"protocol_whitelist": "file"})  # file: - a name may hold a colon
