"""Sounds that a caption misses, and sounds that it invents, by the space of sentences.

The idea of misses and false alarms of sound events is that of arXiv 2309.03326; here no list of events is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..store import JOINED

if TYPE_CHECKING:
    from torch import Tensor


def parts(*texts: str) -> list[str]:
    """What texts say, a sound each.

    >>> parts("A dog barks, then it rains.", "Rain falls while a man speaks.")
    ['A dog barks', 'it rains', 'Rain falls', 'a man speaks']
    """
    return [part for text in texts for part in map(str.strip, JOINED.split(text.strip(" ."))) if part]


def unlike(
    asked: Sequence[Sequence[str]], said: Sequence[Sequence[str]], encode: Callable[[list[str]], Tensor]
) -> np.ndarray:
    """How far the sounds that are asked for are from those that are said: what is missed; the other way, invented.

    Args:
        asked, said: of each item its `parts`, or the names of events.
        encode: embeds texts, (n, d), unit rows.

    Returns:
        of each item the mean over what is asked for of 1 minus the cosine with the nearest that is said, shape = (n,):
        0 where nothing is asked for, 1 where nothing is said.
    """
    every = sorted({part for of in (*asked, *said) for part in of})
    rows = dict(zip(every, encode(every) if every else (), strict=True))
    return np.array([_unlike(*([rows[part] for part in of] for of in pair)) for pair in zip(asked, said, strict=True)])


def _unlike(asked: list[Tensor], said: list[Tensor]) -> float:
    return float(np.mean([1 - max((float(one @ other) for other in said), default=0.0) for one in asked] or [0.0]))
