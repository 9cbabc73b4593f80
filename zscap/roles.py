"""What networks and sources are to each other: any object with these methods will do; one row of a Tensor an item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

# A recording, an image, or a video, each as a path or in memory: samples with their rate, a picture, frames.
Source: TypeAlias = "str | Path | tuple[np.ndarray, int] | Image.Image | tuple[Image.Image, ...]"


class SourceEncoder(Protocol):
    """Embeds sources: shape = (n, d), rows of unit norm. Raises UnreadableSource."""

    def encode_source(self, sources: list[Source]) -> Tensor: ...


class TextEncoder(Protocol):
    """Embeds texts: shape = (n, d), rows of unit norm."""

    def encode_text(self, texts: Sequence[str]) -> Tensor: ...


class Matcher(SourceEncoder, TextEncoder, Protocol):
    """Embeds sources and texts into one space, so that their cosine says how well they fit."""


class Event(NamedTuple):
    """A sound in a recording: its name, when it starts and ends, in seconds, and the probability that it is there."""

    name: str
    start: float
    end: float
    confidence: float


class Heard(NamedTuple):
    """What a matcher hears in a source.

    Attributes:
        embeddings: Tensor, shape = (1 + sounds, d), unit rows: of the source, then of each sound if it has several.
        events: sorted by their start.
        confidence: the probability that the source's main sound is what it is taken for; None where it isn't known.
        follows: of each sound after the first, whether it is heard after the one before it; without it they sound
            together.
    """

    embeddings: Tensor
    events: tuple[Event, ...] = ()
    confidence: float | None = None
    follows: tuple[bool, ...] = ()

    @property
    def sounds(self) -> Tensor:
        """Of each sound, (sounds, d): of a source that has one, or whose sounds nobody tells apart, its own."""
        return self.embeddings[1:] if len(self.embeddings) > 1 else self.embeddings


class Listener(Protocol):
    """A matcher that tells sounds apart, and when they are heard. Raises UnreadableSource.

    `progress` is told from time to time how many seconds of the source have been heard.
    """

    def listen(self, source: Source, progress: Callable[[float], object] | None = None) -> Heard: ...


class Classifier(Protocol):
    """Gives the probability that each text has the wanted property: shape = (n,), values in [0, 1]."""

    def probability(self, texts: Sequence[str]) -> Tensor: ...


def source_name(source: Source) -> str:
    """What messages and tables call a source: its path, or the shape of its samples or pixels."""
    if isinstance(source, (str, Path)):
        return str(source)
    if is_image(source):
        return getattr(source, "filename", "") or f"image of {source.width} x {source.height} pixels"
    if are_frames(source):
        return f"video of {len(source)} frames"
    if isinstance(source, tuple) and len(source) == 2:
        if hasattr(source, "name"):
            return source.name
        try:
            rate = f"{float(source[1]):g}"
        except (TypeError, ValueError, OverflowError):
            rate = "?"
        return f"array of shape {getattr(source[0], 'shape', '?')} at {rate} Hz"
    return f"{type(source).__name__} given as a source"


def is_image(source: object) -> bool:
    """Whether a source is a picture in memory, told without importing a library of pictures."""
    return all(hasattr(source, name) for name in ("width", "height", "convert"))


def are_frames(source: Source) -> bool:
    """Whether a source is a video given as its frames."""
    return isinstance(source, (tuple, list)) and len(source) > 0 and all(map(is_image, source))
