"""Sentences made of phrases: captions of kinds of sounds, and pairs that differ in style."""

import tomllib
from pathlib import Path
from random import Random

import pandas as pd

PHRASES, SOUNDS = (
    tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8"))
    for name in ("phrases", "sounds")
)
CLASS_PHRASES = {name: "|".join(phrases) for name, phrases in PHRASES["classes"].items()}  # the ten classes of ESC-10
KINDS = PHRASES["classes"] | SOUNDS["esc50"] | SOUNDS["kitchen20"] | SOUNDS["things"]
JOINTS = ("{} and {}", "{} while {}", "{} as {}", "{} with {} in the background", "{}, and {}", "{} followed by {}")


def class_captions(pairs: int, seed: int = 0, classes: dict[str, str] = CLASS_PHRASES) -> pd.DataFrame:
    """Make captions of classes of sounds: every phrase of one class, then `pairs` random captions of two.

    Args:
        classes: phrases by name, with | between them.

    Returns:
        DataFrame with `text` (lower case, full stop, none twice), `first` and `second` (class names; equal for
        captions of one class).
    """
    random = Random(seed)
    rows = [(f"{phrase}.", name, name) for name, phrases in classes.items() for phrase in phrases.split("|")]
    for _ in range(pairs):
        first, second = random.sample(sorted(classes), 2)
        phrases = [random.choice(classes[name].split("|")) for name in (first, second)]
        rows.append((random.choice(JOINTS).format(*phrases) + ".", first, second))
    return pd.DataFrame(rows, columns=["text", "first", "second"]).drop_duplicates("text").reset_index(drop=True)


def kind_of(name: str) -> str | None:
    """The kind of sound that a collection's name stands for: "cow moo" is a cow, "node dig.1" none that is known.

    >>> kind_of("cow moo"), kind_of("lava cool.2")
    ('cow', None)
    """
    name = name.partition(".")[0].replace(" ", "_")
    name = SOUNDS["aliases"].get(name, name)
    return name if name in KINDS else None


def sentence(phrase: str) -> str:
    """A phrase with a capital and a full stop."""
    return phrase[0].upper() + phrase[1:] + "."


def tense_sentences(pairs: int = 800, seed: int = 0) -> pd.DataFrame:
    """Make sentences in the simple present ("a dog barks") and the same with participles ("a dog barking").

    They teach a classifier a style, which has nothing to do with what is heard or seen. Half of the participles follow
    an "is". The words of the test are new, so that knowing the training's words by heart is worth nothing there.

    Args:
        pairs: drawn for training, a third as many for the test; what is drawn again is left out.

    Returns:
        DataFrame with `text` (none twice), `label` (1 for the simple present, else 0), `pair` (the number that two
        sentences share) and `part` ("train" or "test").
    """
    random, rows = Random(seed), []
    for part, count in {"train": pairs, "test": pairs // 3}.items():
        verbs, subjects, places = PHRASES["tenses"][part].values()
        for _ in range(count):
            article, progressive, pair = random.choice(("a", "the")), random.choice(("", "is ")), len(rows) // 2
            clauses = [
                (f"{article} {subject}", verb.split())
                for subject, verb in zip(random.sample(subjects, 2), random.sample(verbs, 2), strict=True)
            ][: random.choice((1, 2))]
            place = random.choice(places)
            present = " and ".join(f"{subject} {finite}" for subject, (finite, _) in clauses)
            continuing = " and ".join(f"{subject} {progressive}{participle}" for subject, (_, participle) in clauses)
            rows += [(f"{text} {place}".strip(), label, pair, part) for text, label in ((present, 1), (continuing, 0))]
    table = pd.DataFrame(rows, columns=["text", "label", "pair", "part"])
    return table.drop_duplicates("text", ignore_index=True)
