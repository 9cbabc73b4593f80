"""Pairs of sentences about one thing, of which one is heard, and words that say a sound."""

import pytest

from studies.sounding import says_a_sound, share_of_sound
from studies.verbs import KINDS, verb_pairs


def test_pairs_are_balanced_and_keep_off_what_is_held_out():
    table = verb_pairs(number=4)
    assert table.sentence.is_unique and table.audible.mean() == 0.5 and set(table.kind) == set(KINDS)
    assert (table.groupby("pair").audible.nunique() == 2).all() and (table.groupby("kind").part.nunique() == 1).all()
    assert table.equals(verb_pairs(number=4)) and not table.equals(verb_pairs(number=4, seed=1))
    without = verb_pairs(["Ducks quack loudly on the pond.", "The duck that is green flies."], number=40)
    ducks = without.sentence[without.kind == "duck"].str.lower()
    assert len(ducks) > 40 and ducks.str.contains("splash").any()
    assert not ducks.str.contains(r"\bquack|\bflies|\bfly|\bgreen").any()


@pytest.mark.parametrize("caption", ["A dog is barking.", "Rain pattering", "She plays a harp", "Water runs"])
def test_a_sound_is_said(caption):
    assert says_a_sound(caption) and says_a_sound(caption.upper())


def test_no_sound_is_said():
    silent = ["A dog is sleeping.", "Children play a game", "A girl in pants runs", "The harp is gold", ""]
    assert share_of_sound(silent) == 0 and share_of_sound([*silent, "Thunder"]) == pytest.approx(1 / 6)
