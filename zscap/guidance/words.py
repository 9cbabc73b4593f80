"""Words that a text has already: a language model that is pulled towards a sound says its name again and again."""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..language_model import LanguageModel

WORD = re.compile(r"[^\W\d_]{3,}")
ENDINGS = "ings", "ing", "ed", "es", "s", "y", "e"  # of English, the longest first
MAY_RETURN = frozenset(["the", "and", "with", "for", "from", "into", "over", "his", "her", "its", "their", "are"])
_KNOWN: WeakKeyDictionary[LanguageModel, dict[str, Tensor]] = WeakKeyDictionary()


def repeated(texts: list[str], language_model: LanguageModel) -> Tensor:
    """Tokens that begin a word of which a text has one of the same stem: bool, shape = (texts, vocabulary)."""
    table = torch.zeros(len(texts), language_model.vocabulary_size, dtype=torch.bool)
    for row, text in zip(table, texts, strict=True):
        for each in stems(text):
            row[_tokens_like(each, language_model)] = True
    return table


def stems(text: str) -> set[str]:
    """Of a text's words but for those that may return.

    >>> sorted(stems("The dogs bark at the dog"))
    ['bark', 'dog']
    """
    return {stem(word) for word in WORD.findall(text.lower()) if word not in MAY_RETURN}


def stem(word: str) -> str:
    """A word without its ending, if three letters are left.

    >>> stem("snoring"), stem("snores"), stem("bees")
    ('snor', 'snor', 'bee')
    """
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) >= 3 + len(ending):
            return word.removesuffix(ending)
    return word


def alike(one: str, other: str) -> bool:
    """Whether one stem begins with the other, and is not twice as long: "pig" and "pigg", not "dish" and "dishwash"."""
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) and 2 * len(shorter) > len(longer)


def _tokens_like(wanted: str, language_model: LanguageModel) -> Tensor:
    known = _KNOWN.setdefault(language_model, {})
    if wanted not in known:
        pieces = enumerate(language_model.pieces)
        known[wanted] = torch.tensor(
            [
                token
                for token, piece in pieces
                if piece[:1].isspace() and WORD.fullmatch(piece[1:]) and alike(wanted, stem(piece[1:].lower()))
            ],
            dtype=torch.long,
        )
    return known[wanted]
