"""CLIP's byte pair encoding, from its file of merges; ImageBind's too."""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
import warnings
import zlib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from ..errors import InvalidData, MissingWeights

MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
MERGES_URL = f"https://github.com/openai/CLIP/raw/main/clip/{MERGES_FILE}"
MERGES = 48_894  # CLIP takes so many of the file's 262,144
START, END = "<|startoftext|>", "<|endoftext|>"


class ClipTokenizer:
    """CLIP's byte pair encoding. It leaves out ftfy's repair of broken encodings, which ordinary text does not need.

    Args:
        merges: a file of one merge a line, plain or gzipped, after a first line that is a header.
        vocabulary: number of token ids: of bytes, bytes that end a word, merges, start and end.
        context: number of tokens that a text is cut to, start and end included.

    Raises:
        MissingWeights: no such file, or it is cut off.
        InvalidData: the file does not hold the merges of this vocabulary.
    """

    def __init__(self, merges: str | Path, vocabulary: int, context: int):
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # sorted as CLIP numbers them
        pairs = _read_merges(Path(merges), vocabulary - 2 * len(letters) - 2)
        words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, pairs), START, END]
        number_of = {word: number for number, word in enumerate(words)}
        pairs = list(filter(None, pairs))
        if any(len(pair) != 2 or not number_of.keys() >= set(pair) for pair in pairs):
            raise InvalidData(f"{merges}: not byte pair merges; give {MERGES_FILE} from {MERGES_URL}")
        self.tokenizer = Tokenizer(models.BPE(number_of, pairs, end_of_word_suffix="</w>"))
        self.tokenizer.add_special_tokens([START, END])
        word = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(word), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self.start, self.end = number_of[START], number_of[END]
        self.context = context

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text: start, at most `context - 2`, end. A text that is cut keeps its end token."""
        room = self.context - 2
        encoded = (self.tokenizer.encode(clean(text), add_special_tokens=False).ids[:room] for text in texts)
        # The tower reads a text up to the first end token, even one that is written out in it.
        return [[self.start, *takewhile(lambda token: token != self.end, ids), self.end] for ids in encoded]


def clean(text: str) -> str:
    """Lower case, composed characters, straight quotes, no HTML entities."""
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    return re.sub("[\u201c-\u201f]", '"', re.sub("[\u02bc\u2018-\u201b]", "'", text)).lower()


def _read_merges(path: Path, number: int) -> list[tuple[str, ...]]:
    """The first 48,894 merges of a file, of which there must be `number` at most."""
    where = f"give {MERGES_FILE} (1.4 MB, MIT) from {MERGES_URL} as merges=, or put it beside the checkpoint"
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        lines = content.decode().split("\n")[1 : MERGES + 1]
    except FileNotFoundError:
        raise MissingWeights(f"{path}: no such file; {where}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise MissingWeights(f"{path}: not a whole file of merges ({error}); {where}") from None
    if len(lines) == number + 1 and not lines[-1].strip():
        lines.pop()  # what follows the last line's end; the official tokenizer counts it where it is not cut
    fault = f"{path}: {len(lines)} merges; the checkpoint's table of tokens has {number}; {where}"
    if len(lines) > number:
        raise InvalidData(fault)
    if len(lines) < number:  # the other rows of the table are never used
        warnings.warn(fault, stacklevel=2)
    return [tuple(line.split()) for line in lines]
