"""Errors named for the user's mistake. Each message is one line: the value, the rule, the fix."""

import difflib
import re
from collections.abc import Collection


def one_line(text: str) -> str:
    """A text with its control characters escaped: a name may hold line breaks, commands to a terminal, turned text."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", lambda found: repr(found[0])[1:-1], text)


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the known one it looks like, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"


class ZscapError(Exception):
    """Base of every error that zscap raises on purpose."""

    def __init__(self, message: str):
        text = one_line(message).encode(errors="backslashreplace").decode()  # names of files may be no UTF-8
        super().__init__(text if len(text) <= 1500 else f"{text[:1000]} ... {text[-500:]}")  # the fix stands at the end


class UnreadableSource(ZscapError):
    """A recording, image or video that cannot be read, or holds nothing to caption."""


class InvalidOption(ZscapError, ValueError):
    """An option with an unknown name or an impossible value."""


class UnknownPreset(ZscapError, KeyError):
    """A preset that presets.toml does not name."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class MissingWeights(ZscapError, FileNotFoundError):
    """Weights that a preset needs and this machine does not have, or has only in part."""


class InvalidData(ZscapError, ValueError):
    """A table or a text file that is not what it should be, or cannot be fetched."""


class UnwritableOutput(ZscapError):
    """An output file that cannot be written or goes on from a different run."""
