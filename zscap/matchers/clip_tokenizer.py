"""CLIP's byte pair encoding: from its official file of merges, which ImageBind uses too, and up to a text's end."""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from ..files.packed import reading

MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
MERGES_URL = f"https://github.com/openai/CLIP/raw/main/clip/{MERGES_FILE}"
MERGES = 48_894  # CLIP takes so many of the file's 262,144
MAX_BYTES = 1 << 22  # of the file, which has 3.2 million unpacked


def read_merges(path: str | Path, vocabulary: int) -> CLIPTokenizer:
    """CLIP's tokenizer, for texts that `clean` gives.

    Args:
        path: a file of one merge a line, plain or gzipped, after a first line that is a header.
        vocabulary: number of token ids: of bytes, bytes that end a word, merges, start and end.

    Raises:
        MissingWeights: no such file, or it does not hold the merges of this vocabulary.
    """
    fix = f"give {MERGES_FILE} (1.4 MB, MIT) from {MERGES_URL} as merges=, or put it beside the checkpoint"
    with reading("file of byte pair merges", path, fix):
        gzipped = Path(path).read_bytes()[:2] == b"\x1f\x8b"
        with gzip.open(path) if gzipped else open(path, "rb") as file:
            lines = file.read(MAX_BYTES).decode().strip().split("\n")[1 : MERGES + 1]
        merges = [tuple(line.split()) for line in lines]
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # sorted as CLIP numbers them
        tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
        number_of = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
        if len(number_of) != vocabulary:
            raise ValueError(f"{len(number_of)} tokens; the checkpoint's table has {vocabulary}")
        tokenizer = CLIPTokenizer(number_of, merges)
    tokenizer.backend_tokenizer.normalizer = None  # which does part of what `clean` does, and takes as long as the rest
    return tokenizer


def clean(text: str) -> str:
    """Lower case, composed characters, straight quotes, no HTML entities.

    ftfy's repair of broken encodings, which ordinary text does not need, is left out.
    """
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    return re.sub("[\u201c-\u201f]", '"', re.sub("[\u02bc\u2018-\u201b]", "'", text)).lower()


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> list[list[int]]:
    """Ids of each text, cut to `length`, up to its first end token: even one written out is where a tower is read."""
    if not texts:
        return []
    rows = tokenizer(list(texts), truncation=True, max_length=length).input_ids
    return [row[: row.index(tokenizer.eos_token_id) + 1] for row in rows]
