"""A store of captions: those that lie near a source stand in its prompt, and drafts are compared with them.

As in DRCap (arXiv 2410.09472) and RECAP (2309.09836), but with a frozen language model (docs/METHODS.md, 5).
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import InvalidData
from .folders import ASSETS, cache_folder, data_folder

if TYPE_CHECKING:
    from torch import Tensor

    from .options import DecodingOptions
    from .roles import Heard, Matcher

WRITTEN = ASSETS / "captions.txt"  # by this project: studies/captions.py
# Names that stand for what `zscap fetch captions` brings: texts of training splits.
STORES = {"audiocaps": Path("captions", "audiocaps_train.csv"), "clotho": Path("captions", "clotho_development.csv")}
JOINED = re.compile(r",| (?:and|as|while|with|then|followed by) ")  # of several sounds
OWN = 0.5  # of a caption's cosine with one of several sounds, beside what it agrees with the others near
BATCH = 256  # texts that are embedded between two steps of the progress bar
COLUMNS = "caption", *(f"caption_{number}" for number in range(1, 6))  # AudioCaps has the first, Clotho the others
MAX_TEXTS, MAX_BYTES = 1_000_000, 2**28  # of a store
ONE_A_LINE = "give a text with one a line"


class Nearest(NamedTuple):
    """Captions near a source.

    Attributes:
        texts: the most central first.
        sounds: for each sound that the source holds, Tensor, shape = (n, d), embeddings of captions near it.
    """

    texts: list[str]
    sounds: list[Tensor]


class Store:
    """Captions that are embedded once; their embeddings are kept in the cache folder.

    Args:
        name: what `read_store` reads.
        matcher: of sources and texts.
    """

    def __init__(self, name: str, matcher: Matcher):
        self.texts = read_store(name)
        self.embeddings = _embedded(self.texts, matcher)
        single = [index for index, text in enumerate(self.texts) if not JOINED.search(text)]
        self._single = [self.texts[index] for index in single], self.embeddings[single]

    def nearest(self, heard: Heard, number: int) -> Nearest:
        """The captions near the sounds of a source; those of several are joined into one."""
        sounds = heard.sounds
        if len(sounds) == 1 or not self._single[0]:
            texts, near = _central(self.texts, self.embeddings, sounds[0], number)
            return Nearest(texts, [near])
        each = [_central(*self._single, sound, max(1, number // len(sounds)), OWN) for sound in sounds]
        texts = [joined(parts, heard.follows) for parts in zip(*(texts for texts, _ in each), strict=True)]
        return Nearest(list(dict.fromkeys(texts)), [near for _, near in each])


def _central(
    texts: Sequence[str], embeddings: Tensor, source: Tensor, number: int, own: float = 0.0
) -> tuple[list[str], Tensor]:
    """Of captions the `number` of highest cosine with a source, (d,), those first that agree most with the rest.

    So much of their own cosine counts, too.
    """
    embeddings = embeddings.to(source)
    fit, near = (embeddings * source).sum(-1).topk(min(number, len(texts)))
    agreement = (embeddings[near] @ embeddings[near].T).mean(-1) + own * fit
    near = near[agreement.argsort(descending=True, stable=True)]
    return [texts[index] for index in near.tolist()], embeddings[near]


def joined(captions: Sequence[str], follows: Sequence[bool] = ()) -> str:
    """Captions of one sound each as one, none twice.

    >>> joined(["A dog barks.", "It rains.", "A dog barks."]), joined(["A dog barks.", "It rains."], [True])
    ('A dog barks and it rains.', 'A dog barks, then it rains.')
    """
    first, *others = (caption.strip().rstrip(".") for caption in captions)
    text, said = first, {first}
    for other, after in zip_longest(others, follows, fillvalue=False):
        if other not in said:
            text += (", then " if after else " and ") + other[:1].lower() + other[1:]
        said.add(other)
    return f"{text}."


def prompt_after(examples: Sequence[str], prompt: str, options: DecodingOptions) -> str:
    """The prompt after examples, the best last: "Descriptions of ...:\\n- Rain falls.\\n- It rains.\\n-"."""
    lines = [f"- {text.rstrip('.')}.\n" for text in reversed(examples)]
    return "".join([options.store_prompt if lines else "", *lines, prompt])


def _embedded(texts: tuple[str, ...], matcher: Matcher) -> Tensor:
    """Embeddings of texts, (n, d), unit rows: those that are kept, in eight bits, or new ones, which are kept then."""
    import torch
    from torch.nn.functional import normalize
    from transformers.utils.logging import tqdm

    probe = matcher.encode_text(list(texts[:3])).cpu()
    key = hashlib.sha256("\n".join((type(matcher).__name__, *texts)).encode()).hexdigest()[:16]
    for file in (ASSETS / f"{WRITTEN.stem}.npy", cache_folder() / "stores" / f"{key}.npy"):
        with suppress(OSError, ValueError):
            kept = normalize(torch.from_numpy(np.load(file)).float(), dim=-1)
            if kept.shape == (len(texts), probe.shape[1]) and (kept[:3] * probe).sum(-1).min() > 0.99:
                return kept
    starts = tqdm(range(0, len(texts), BATCH), desc="embedding the store", disable=None if len(texts) > BATCH else True)
    made = torch.cat([matcher.encode_text(list(texts[start : start + BATCH])).cpu() for start in starts])
    with suppress(OSError):  # a cache that can't be written costs time alone
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.npy")
        np.save(part, (made * (127 / made.abs().max())).round().to(torch.int8).numpy())
        part.replace(file)
    return made


def read_store(path: str | Path) -> tuple[str, ...]:
    """Captions of a file, none twice: a text with one a line, or a .csv with the columns that AudioCaps or Clotho has.

    Args:
        path: of the file; or "written", the captions that this project wrote; or a name of `STORES`. These names go
            before files of the same name in the working directory.

    Raises:
        InvalidData: no such regular file, no such column, a row that is longer or shorter than the header, no captions,
            or more than 1,000,000 of them or 256 MiB; or what a name stands for has not been fetched.
    """
    fix = f"{ONE_A_LINE}, a .csv with the column caption, or a name: written, {', '.join(STORES)}"
    if str(path) == "written":
        path = WRITTEN
    elif str(path) in STORES:
        path, fix = data_folder() / STORES[str(path)], "run `zscap fetch captions`"
    return read_texts(path, "captions", COLUMNS, MAX_TEXTS, MAX_BYTES, fix=fix)


def read_texts(
    path: str | Path, what: str, columns: Sequence[str], most: int, size: int, *, separator="\n", fix=ONE_A_LINE
) -> tuple[str, ...]:
    """Texts of a file, none twice and none empty: one a line, or of a .csv.

    Args:
        what: they are, for messages.
        columns: of a .csv; those that it has are read.
        most: how many there may be.
        size: bytes that the file may have.
        separator: parts a field of a .csv into texts.
        fix: the end of a message.

    Raises:
        InvalidData: no such regular file, no such column, a row unlike the header, no texts, or too many.
    """
    path = Path(path)
    try:
        if path.stat().st_size > size or not path.is_file():
            raise OSError(f"no regular file of at most {size:,} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                table, texts = csv.DictReader(file), []
                if not (there := [name for name in columns if name in (table.fieldnames or ())]):
                    raise ValueError(f"no column {columns[0]}")
                for row in table:
                    if None in row or None in row.values():  # as where a comma stands without quotes
                        raise ValueError(f"line {table.line_num} has more or fewer fields than the first")
                    texts += [text for name in there for text in row[name].split(separator)]
            else:
                texts = file.read().splitlines()
    except (OSError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InvalidData(f"{path}: no {what} can be read ({reason}); {fix}") from None
    found = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not 0 < len(found) <= most:
        raise InvalidData(f"{path}: holds {len(found) or 'no'} {what}; give 1 to {most:,}")
    return found
