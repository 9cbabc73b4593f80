"""Does a caption name the sound? A list of words for each class of ESC-10."""

import re

from ..errors import InvalidOption, suggestion

NAMES = {
    "baby_cry": r"\b(?:baby|babies|infant|newborn|toddler)",
    "chainsaw": r"\b(?:chain ?saw|saw\b|sawing)",
    "clock_tick": r"\b(?:clock|watch\b|tick)",
    "dog_bark": r"\b(?:dogs?\b|puppy|bark)",
    "fire_crackling": r"\b(?:fire|campfire|bonfire|flames?|crackl)",
    "helicopter": r"\b(?:helicopter|chopper)",
    "person_sneeze": r"\bsneez",
    "rain": r"\brain",
    "rooster": r"\b(?:rooster|cock\b|crow(?!d)|cockerel)",
    "sea_waves": r"\b(?:waves?\b|ocean|sea\b|surf)",
}


def names_sound(caption: str, sound: str) -> bool:
    """Does `caption` hold a word for `sound`, a class of ESC-10 by its folder's name?

    Raises:
        InvalidOption: a class without a word list.

    >>> names_sound("a crow on a wall", "rooster"), names_sound("a crowd of people", "rooster")
    (True, False)
    """
    if sound not in NAMES:
        raise InvalidOption(f"sound {sound!r} has no list of words: {suggestion(sound, NAMES)}")
    return re.search(NAMES[sound], caption, re.IGNORECASE) is not None
