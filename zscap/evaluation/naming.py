"""Does a caption name the sound? naming.toml lists words for each class of ESC-10, of ESC-50 and of kitchen20."""

import re
import tomllib
from pathlib import Path

from ..errors import InvalidOption, suggestion

_LISTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
NAMES, ESC50, KITCHEN20 = _LISTS["esc10"], _LISTS["esc50"], _LISTS["kitchen20"]  # regular expressions by class
ALL = NAMES | ESC50 | KITCHEN20


def names_sound(caption: str, sound: str) -> bool:
    """Does `caption` hold a word for `sound`, a class of ESC-50 or kitchen20 by its folder's name?

    Raises:
        InvalidOption: a class without a word list.

    >>> names_sound("a bird crows", "rooster"), names_sound("a crow caws", "rooster")
    (True, False)
    """
    if sound not in ALL:
        raise InvalidOption(f"sound {sound!r} has no list of words: {suggestion(sound, ALL)}")
    return re.search(ALL[sound], caption, re.IGNORECASE) is not None
