"""Does a caption say a sound? By the words of sound_words.txt, which anyone can read, and count again."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from .verbs import forms, third

_TEXT = Path(__file__).with_name("sound_words.txt").read_text(encoding="utf-8")
_PARTS = dict(re.findall(r"^\[(\w+)\]\n(.+?)(?=\n\n|\Z)", _TEXT, re.M | re.S))
WORDS = {form for verb in _PARTS["verbs"].split() for form in forms(verb)} | set(_PARTS["forms"].split())
WORDS |= {form for noun in _PARTS["nouns"].split() for form in (noun, third(noun))}
BESIDE = [  # words that say a sound only with others
    (set(verbs.split()), {form for noun in nouns.split() for form in (noun, third(noun))})
    for verbs, nouns in re.findall(r"^(.+?):(.+?)(?=\n\w[\w ]*:|\Z)", _PARTS["beside"], re.M | re.S)
]


def says_a_sound(caption: str) -> bool:
    """Does a caption have a word that says a sound, or the making of one?

    >>> [says_a_sound(text) for text in ("The ducks are quacking.", "The ducks are flying.", "Someone plays a harp.")]
    [True, False, True]
    """
    words = set(re.findall(r"[a-z][a-z-]*", caption.lower()))
    return bool(words & WORDS) or any(words & verbs and words & nouns for verbs, nouns in BESIDE)


def share_of_sound(captions: Sequence[str]) -> float:
    """Share of captions that say a sound.

    >>> share_of_sound(["A dog barks.", "A dog sleeps."])
    0.5
    """
    return sum(map(says_a_sound, captions)) / len(captions)


def told_apart(rows: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """How well a classifier tells the sentences of pairs apart, and of how many sentences that is measured.

    Args:
        rows: columns `sentence`, `audible`, `pair` and `p`, the classifier's probability.

    Returns:
        The share of pairs in order; the AUC over pairs of which one sentence says a sound, and over those of which both
        do, where the words tell nothing.
    """
    sides = rows.pivot(index="pair", columns="audible", values=["p", "sentence"])
    both = rows.pair.map(sides["sentence", False].map(says_a_sound)).astype(bool)
    measures = {"pairs in order": ((sides["p", True] > sides["p", False]).mean(), len(rows))}
    for name, chosen in (("one of two sentences says", rows[~both]), ("both of two sentences say", rows[both])):
        measures[f"auc where {name} a sound"] = roc_auc_score(chosen.audible, chosen.p), len(chosen)
    return measures
