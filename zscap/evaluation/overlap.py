"""May captions out of a store be measured on some data? Not where it holds the references of these."""

import re
from collections.abc import Sequence

from ..errors import InvalidData

WORDS = 10  # so long a text is rarely written twice
SHARE = 0.05  # of the references that are so long; by chance a store held at most 0.003 of them


def check_store(store: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuses a store that holds references of the data on which captions out of it are to be measured.

    Texts are compared by their letters and digits, in lower case. Short ones are shared by chance: AudioCaps' training
    texts hold 6.2 % of the references of its validation split, but none of those of at least 10 words (of 394 other
    recordings, 0.3 %). So a store is refused that holds

    - two or more, and over 5 %, of the references of at least 10 words; or
    - over half of all references.

    Fewer are let through: recordings that are known to be in the store must be left out of the data. References that
    somebody has worded anew are not found.

    Args:
        store: captions.
        references: of each recording.

    Raises:
        InvalidData: with the longest reference that is in both.

    Examples:
        >>> check_store(["Rain falls."], [["Rain falls!", "It rains."]])
        >>> check_store(["Rain falls."], [["Rain falls!"]])
        Traceback (most recent call last):
        zscap.errors.InvalidData: the store holds 1 of the data's 1 references, as 'Rain falls!': choose another,
        such as the texts of a training split
    """
    written = {_letters(text): text for texts in references for text in texts}
    shared = sorted(written[key] for key in written.keys() & map(_letters, store))
    known, long = (sum(len(text.split()) >= WORDS for text in texts) for texts in (shared, written.values()))
    if known > max(1, SHARE * long) or len(shared) > len(written) / 2:
        raise InvalidData(
            f"the store holds {len(shared)} of the data's {len(written)} references, as {max(shared, key=len)!r}: "
            "choose another, such as the texts of a training split"
        )


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())
