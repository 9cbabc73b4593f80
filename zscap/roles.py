"""What networks are to each other: any object with these methods will do. Tensors come in rows of one per item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from .errors import MissingWeights

if TYPE_CHECKING:
    from torch import Tensor

    from .sources import Source

NO_NUMBERS = "the {} gives a number that is not finite; get its weights again, or in low precision take float32"


class SourceEncoder(Protocol):
    """Embeds sources: shape = (n, d), rows of unit norm. Raises UnreadableSource."""

    def encode_source(self, sources: list[Source]) -> Tensor: ...


class TextEncoder(Protocol):
    """Embeds texts: shape = (n, d), rows of unit norm."""

    def encode_text(self, texts: Sequence[str]) -> Tensor: ...


class Matcher(SourceEncoder, TextEncoder, Protocol):
    """Embeds sources and texts into one space, so that their cosine says how well they fit."""


class Classifier(Protocol):
    """Gives the probability that each text has the wanted property: shape = (n,), values in [0, 1]."""

    def probability(self, texts: Sequence[str]) -> Tensor: ...


class Writer(Protocol):
    """A language model that answers a prompt; of an answer that was cut off, only the lines that are whole."""

    name: str  # of the model, kept beside what it wrote

    def __call__(self, prompt: str, seed: int) -> str: ...


def finite(values: Tensor, network: str, name: str) -> Tensor:
    """What a network says of what is called `name`.

    Raises:
        MissingWeights: not all of it are finite numbers.
    """
    if not values.isfinite().all():
        raise MissingWeights(f"{name}: {NO_NUMBERS.format(network)}")
    return values
