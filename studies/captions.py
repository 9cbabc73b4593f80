"""A store of captions that the project writes: single sounds, and two or three as people join them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from random import Random

from .phrases import KINDS, sentence

WRITTEN = tomllib.loads(Path(__file__).with_name("clauses.toml").read_text(encoding="utf-8"))
CLAUSES: dict[str, list[str]] = WRITTEN["clauses"] | KINDS
OFTEN: dict[str, float] = dict.fromkeys(WRITTEN["clauses"], 1.0) | dict.fromkeys(KINDS, 0.5) | WRITTEN["often"]

# {a} is a finite clause, {a_ing} one with a participle; a noun ("a thud") stands only where a participle may.
JOINTS = {
    2: (
        *("{a} and {b}", "{a} as {b}", "{a} while {b}", "{a}, then {b}", "{a} and then {b}", "{a} followed by {b_ing}"),
        *("{a} with {b_ing} in the background", "{a_ing} with {b_ing} in the background", "{a_ing} and {b_ing}"),
        *("{a_ing} followed by {b_ing}", "{a_ing} as {b}", "{a_ing} while {b}"),
    ),
    3: (
        *("{a} and {b} while {c}", "{a} as {b} and {c}", "{a}, {b} and {c}", "{a}, then {b} as {c}"),
        *("{a_ing} followed by {b_ing} and {c_ing}", "{a} with {b_ing} and {c_ing} in the background"),
    ),
}
VERBS, DOUBLED = (set(WRITTEN["participles"][name].split()) for name in ("verbs", "doubled"))


def _stem(verb: str) -> str | None:
    """The verb that a word is a form of in the present, as far as it is known here."""
    endings = (("ies", "y"), ("es", ""), ("s", ""), ("", ""))
    stems = (verb.removesuffix(old) + new for old, new in endings if verb.endswith(old))
    return next((stem for stem in stems if stem in VERBS), None)


def _ing(stem: str) -> str:
    if stem in DOUBLED:
        return f"{stem}{stem[-1]}ing"
    return f"{stem.removesuffix('e')}ing"


def participle(clause: str) -> str | None:
    """A clause without its finite verb, as in "followed by a dog barking"; a noun as it is; None where it has none.

    >>> participle("a dog growls and barks"), participle("waves are crashing"), participle("a toilet is flushed")
    ('a dog growling and barking', 'waves crashing', 'a toilet being flushed')
    >>> participle("rain falls on a roof"), participle("the bark of a dog"), participle("it is raining")
    ('rain falling on a roof', 'the bark of a dog', None)
    >>> participle("dogs bark and howl"), participle("a man and a woman talk")
    ('dogs barking and howling', 'a man and a woman talk')
    """
    if clause.startswith("it "):
        return None
    if continuous := re.fullmatch(r"(.+?) (?:is|are) (?:being )?(\w+)(.*)", clause):
        subject, verb, rest = continuous.groups()
        return f"{subject} {verb if verb.endswith('ing') else f'being {verb}'}{rest}"
    words = clause.split()
    of_one = words[0] in ("a", "an", "the", "someone", "something") or words[1:2] == ["of"]
    found = not of_one and words[0].endswith("ing")  # "tapping on a surface" is one already
    for place, word in enumerate(words[1:], 1):
        is_noun = words[place - 1] in ("a", "an", "the") or words[place + 1 : place + 2] == ["of"]
        begins = word.endswith("s") if of_one else not found
        goes_on = found and "and" in words[max(0, place - 2) : place]
        if (stem := _stem(word)) and not is_noun and (begins or goes_on):
            words[place], found = _ing(stem), True
    return " ".join(words)


def write(pairs: int = 6000, triples: int = 1500, seed: int = 0) -> list[str]:
    """Captions, none twice: each clause with a finite verb by itself, then as many of two and of three sounds.

    >>> captions = write(pairs=2, triples=1)
    >>> captions[0], captions[-3]
    ('A man speaks.', 'Leaves rustle with firecrackers exploding in the background.')
    """
    random = Random(seed)
    forms = {name: [(clause, participle(clause)) for clause in clauses] for name, clauses in CLAUSES.items()}
    finite = {name: [clause for clause, other in of if clause != other] for name, of in forms.items()}
    others = {name: [other for _, other in of if other] for name, of in forms.items()}
    names = [name for name in CLAUSES if finite[name]]  # a noun alone joins with nothing
    shares = [OFTEN[name] for name in names]

    def joined(number: int) -> str:
        chosen: list[str] = []
        while len(chosen) < number:
            chosen += {random.choices(names, shares)[0]} - set(chosen)
        given = {letter: random.choice(finite[name]) for letter, name in zip("abc", chosen, strict=False)}
        given |= {f"{letter}_ing": random.choice(others[name]) for letter, name in zip("abc", chosen, strict=False)}
        return random.choice(JOINTS[number]).format(**given)

    # Those without a finite verb would be broken where they are joined with another: "Rain falls and a man speaking."
    single = [clause for name, clauses in CLAUSES.items() for clause in finite[name] or clauses]
    several = [joined(number) for number, count in ((2, pairs), (3, triples)) for _ in range(count)]
    return list(dict.fromkeys(map(sentence, (*single, *several))))
