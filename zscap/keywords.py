"""Audio context keywords: names that fit a source, put before the prompt (docs/METHODS.md, 3; arXiv 2311.08396)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .folders import ASSETS, data_folder
from .options import DecodingOptions
from .roles import Matcher
from .store import read_texts

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = ASSETS / "keywords.txt"
MAX_NAMES, MAX_BYTES = 10_000, 2**18  # of a list; AudioSet has 527 names in 15 kB
AUDIOSET = Path("audioset", "class_labels_indices.csv")  # below the data folder, see `zscap fetch audioset`


class Keywords:
    """Names that are embedded once.

    Args:
        names: to choose from.
        matcher: of sources and names.
    """

    def __init__(self, names: tuple[str, ...], matcher: Matcher):
        from .scoring import finite  # late: files of names are read without torch

        self.names = names
        self.embeddings = finite(matcher.encode_text(list(self.names)), "matcher", repr(self.names[0]))

    def best(self, source: Tensor, number: int) -> list[str]:
        """The `number` names of highest cosine with a source's embedding, (d,), the best first."""
        # Sums of products rather than a matrix product, which rounds with the number of rows.
        fit = (self.embeddings.to(source) * source).sum(-1)
        return [self.names[index] for index in fit.topk(min(number, len(self.names))).indices.tolist()]


def default_keywords() -> tuple[str, ...]:
    """AudioSet's names, as ZerAuCap has them, where they have been fetched; else zscap's own list."""
    audioset = data_folder() / AUDIOSET
    return read_keywords(audioset if os.path.isfile(audioset) else BUNDLED)


def prompt_with(keywords: list[str], options: DecodingOptions) -> str:
    """The prompt after its keywords: "Objects: dog, and a bark. This is a sound of "."""
    if not keywords:
        return options.prompt
    *others, last = keywords
    article = "an" if last[0].lower() in "aeiou" else "a"
    listed = "".join(f"{name}, " for name in others) + ("and " if others else "") + f"{article} {last}"
    return f"{options.keyword_prompt}{listed}. {options.prompt}"


def read_keywords(path: str | Path) -> tuple[str, ...]:
    """Names of a file, none twice: a text with one name a line, or AudioSet's class_labels_indices.csv.

    AudioSet's `display_name` may hold several names with commas between them; they count one by one, as in the authors'
    released code.

    Raises:
        InvalidData: no such regular file, no such column, no names, or too many of them.
    """
    return read_texts(path, "keywords", ["display_name"], MAX_NAMES, MAX_BYTES, separator=",")
