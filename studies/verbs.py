"""Pairs of sentences about one thing: what it does is heard in the one, and only seen or known in the other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pandas as pd

from .phrases import sentence

WRITTEN = tomllib.loads(Path(__file__).with_name("verbs.toml").read_text(encoding="utf-8"))
TURNED = WRITTEN.pop("forms")["turned"]
KINDS = {
    name: WRITTEN[group]["shared"] | {"group": group, "shared": WRITTEN[group]["shared"]} | kind
    for group, kinds in WRITTEN.items()
    for name, kind in kinds.items()
    if name != "shared"
}
PEOPLE = "someone", "a man", "a woman", "a boy", "the girl", "a person", "he", "she", "the worker", "a child"
INDOORS = "in the next room", "upstairs", "in the workshop", "in the evening", "near the window"
PLACES = {
    "animals": ("in the yard", "near the barn", "in the early morning", "behind the house", "not far away"),
    "people": ("in the hall", "outside", "at the station", "in the next room", "near a fountain"),
    "vehicles": ("on the street", "near the bridge", "in the early morning", "outside the school", "at noon"),
    "nature": ("in the valley", "behind the house", "at night", "near the village", "in the park"),
}
LASTING = frozenset(
    ["have", "belong", "cost", "weigh", "own", "taste", "smell", "need", "fit", "lead"]
)  # never "is having"


def verb_pairs(held_out: Sequence[str] = (), *, number: int = 16, seed: int = 0) -> pd.DataFrame:
    """Make pairs of sentences of verbs.toml.

    Args:
        held_out: sentences of a test. No pair has a thing and a verb that stand together in one of them.
        number: of pairs of each kind of thing. Of a third of them both sentences have the verb of a sound, which is
            heard in one of them alone ("A dog that sits barks", "A dog that barks sits").

    Returns:
        DataFrame with `sentence` (none twice), `audible` (bool), `pair` (the number that two sentences share), `kind`
        and `part`: 70 % of the kinds are "train", 15 % "validation" and 15 % "test".
    """
    random, rows, there = Random(seed), [], set()
    together = [set(_words(text)) for text in held_out]
    order = random.sample(sorted(KINDS), len(KINDS))
    for place, name in enumerate(order):
        part = "train" if place < 0.7 * len(order) else "validation" if place < 0.85 * len(order) else "test"
        made = []
        for _ in range(8 * number):  # some kinds have little to say that is not held out
            texts = [sentence(clause) for clause in _pair(name, random, together)]
            if len(made) < number and texts and there.isdisjoint(texts):
                there.update(texts)
                made.append(texts)
        for texts in made:
            rows += [
                (text, audible, len(rows) // 2, name, part) for text, audible in zip(texts, (True, False), strict=True)
            ]
    return pd.DataFrame(rows, columns=["sentence", "audible", "pair", "kind", "part"])


def inflected(predicate: str, form: str = "present", several: bool = False) -> str:
    """A predicate of verbs.toml in the simple present, the progressive, or with "ing" alone.

    >>> inflected("clap its hands"), inflected("get struck", "progressive"), inflected("lie still", "ing")
    ('claps its hands', 'is being struck', 'lying still')
    >>> inflected("be on her shelf", "progressive", several=True), inflected("buzz", several=True)
    ('are on their shelf', 'buzz')
    """
    verb, _, rest = predicate.partition(" ")
    to_be = "are " if several else "is "
    if several:
        rest = re.sub(r"\b(its|his|her)\b", "their", rest)
    if verb == "be":
        found = "" if form == "ing" else to_be
    elif verb == "get":
        found = {"present": to_be, "progressive": f"{to_be}being ", "ing": "being "}[form]
    elif form == "present" or verb in LASTING:
        found = f"{verb if several else third(verb)} "
    else:
        found = f"{ing(verb)} " if form == "ing" else f"{to_be}{ing(verb)} "
    return f"{found}{rest}".strip()


def _pair(name: str, random: Random, together: list[set[str]]) -> list[str]:
    """Two clauses, the first of what is heard; none where a held-out sentence has the thing and one of the verbs."""
    kind = KINDS[name]
    plural = kind.get("plural", f"{name}s")
    several = "only_plural" in kind or ("mass" not in kind and bool(plural) and random.random() < 0.35)
    noun = plural if several and "only_plural" not in kind else name
    one = "an" if noun[0] in "aeio" else "a"
    determiners = ("the ", "some ", "two ", "") if several else ("the ", "") if "mass" in kind else ("the ", f"{one} ")
    thing = random.choice(determiners) + noun
    turned = random.random() < 1 / 3
    by_someone = "by" in kind and not turned and random.random() < 0.4
    heard, seen = predicates = [
        random.choice(
            (kind["by"][side] if by_someone else (kind if random.random() < 0.8 else kind["shared"])[field]).split(", ")
        )
        for side, field in enumerate(("heard", "seen"))
    ]
    things = {name, plural} | {name.split()[-1]}
    if any(words & things and any(words & _told(verb) for verb in predicates) for words in together):
        return []
    form = random.choice(("present", "progressive") if turned else ("present", "progressive", "present", "ing"))
    if form == "ing" and any(verb.startswith("be ") for verb in predicates):
        form = "present"  # "a spoon silver"
    if turned:
        words = {verb: inflected(verb, several=several) for verb in ("begin", "have", "be")}
        words |= {"n": thing, "heard_ing": inflected(heard, "ing", several), "seen": inflected(seen, several=several)}
        return [text.format(heard=inflected(heard, form, several), **words) for text in random.choice(TURNED)]
    if by_someone:
        someone = random.choice(PEOPLE)
        return [f"{someone} {inflected(verb, form)} {thing}" for verb in predicates]
    short = all(len(predicate.split()) < 3 for predicate in predicates)
    place = random.choice(PLACES.get(kind["group"], INDOORS)) if short and random.random() < 0.4 else ""
    return [f"{thing} {inflected(verb, form, several)} {place}".strip() for verb in predicates]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _told(predicate: str) -> set[str]:
    """A predicate's verb in every form, or what tells where that is an auxiliary ("parked" of "be parked")."""
    words = predicate.split()
    verb = words[-1] if words[0] in ("be", "get", "have", "make") else words[0]
    return forms(verb)


def forms(verb: str) -> set[str]:
    """A regular verb and what it becomes: bark, barks, barking, barked."""
    past = f"{verb[:-1]}ied" if third(verb).endswith("ies") else f"{ing(verb).removesuffix('ing')}ed"
    return {verb, third(verb), ing(verb), past}


def third(verb: str) -> str:
    """
    >>> [third(verb) for verb in ("buzz", "fly", "play", "go", "moo", "have")]
    ['buzzes', 'flies', 'plays', 'goes', 'moos', 'has']
    """
    if verb == "have":
        return "has"
    if re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ies"
    return f"{verb}es" if re.search(r"(s|x|z|ch|sh|[^o]o)$", verb) else f"{verb}s"


def ing(verb: str) -> str:
    """
    >>> [ing(verb) for verb in ("hum", "lie", "bite", "see", "creak", "mow", "unplug")]
    ['humming', 'lying', 'biting', 'seeing', 'creaking', 'mowing', 'unplugging']
    """
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if re.fullmatch(r"(un)?[^aeiou]*[aeiou][^aeiouwxy]", verb):
        return f"{verb}{verb[-1]}ing"
    return f"{verb if verb.endswith('ee') else verb.removesuffix('e')}ing"
