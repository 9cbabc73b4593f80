"""Captions of sounds and of photographs, which judges and text towers learn from."""

import json
import os
import re
from pathlib import Path

import pandas as pd

from ..errors import InvalidData


def _flickr(path: Path) -> tuple:
    table = pd.read_csv(path, sep="\t", names=["image", "text"], quoting=3)
    return table.text, table.image.str.split("#").str[0]


def _audiocaps(path: Path) -> tuple:
    table = pd.read_csv(path)
    return table["caption"], table["youtube_id"]


def _clotho(path: Path) -> tuple:
    recordings = json.loads(path.read_text(encoding="utf-8"))
    return zip(*((text, i) for i, recording in enumerate(recordings) for text in recording["captions"]), strict=True)


CORPORA = {  # file -> name, reader, whether it is about sounds, whether it is held out (None: every 20th)
    "text/flickr8k_captions.tsv": ("flickr", _flickr, False, None),
    "text/audiocaps_train.csv": ("audiocaps", _audiocaps, True, False),
    "text/audiocaps_val.csv": ("audiocaps", _audiocaps, True, True),
    "text/clotho_train.json": ("clotho", _clotho, True, None),
}


def read_corpora(folder: str | Path, corpora: dict[str, tuple] = CORPORA) -> pd.DataFrame:
    """Read every sentence of a data folder.

    Args:
        folder: where data lie, such as `data_folder()`.
        corpora: which files of it, and how each is read; by default captions of sounds and of photographs.

    Returns:
        DataFrame with `text` (see `clean_sentence`), `source` (flickr, audiocaps, clotho),
        `audio` (True where the text describes a sound) and `held_out` (every 20th image or recording, AudioCaps'
        validation split whole). Sentences under 3 or over 24 words are dropped, missing files left out.

    Raises:
        InvalidData: there are no sentences, or a file isn't what its name says.
    """
    tables = []
    for file, (source, reader, audio, held_out) in corpora.items():
        if os.path.exists(path := Path(folder) / file):
            try:
                texts, keys = reader(path)
                texts = pd.Series(list(texts)).map(clean_sentence, na_action="ignore")
                if texts.isna().all():
                    raise ValueError("no texts")
                table = pd.DataFrame({"text": texts, "source": source, "audio": audio, "key": list(keys)})
            except Exception as error:  # whatever the bytes of a damaged file lead to
                raise InvalidData(f"{path} can't be read as {source} ({error!r:.200}): get it again") from error
            table["held_out"] = table.key.factorize()[0] % 20 == 19 if held_out is None else held_out
            tables.append(table)
    if not tables:
        raise InvalidData(f"no sentences in {folder}: fetch a data set, see data/README.md")
    return usable(pd.concat(tables, ignore_index=True).drop(columns="key"))


def usable(sentences: pd.DataFrame) -> pd.DataFrame:
    """The sentences of 3 to 24 words, none twice."""
    sentences = sentences.dropna().astype({"text": str})
    words = sentences["text"].str.count(" ") + 1
    return sentences[words.between(3, 24)].drop_duplicates(["text", "source"]).reset_index(drop=True)


def clean_sentence(text: str) -> str:
    """Return the first sentence of `text`, lower case, spaces and marks normalised, with one full stop at its end.

    >>> clean_sentence('A dog barks , twice .  A man "talks"')
    'a dog barks, twice.'
    """
    text = re.sub(r'["“”`*()\[\]]', " ", text).replace("’", "'").replace(";", ",").lower()
    text = re.split(r"[.!?](?:\s|$)", text.strip())[0]
    text = re.sub(r"\s+(?=[,.':])", "", re.sub(r"\s+", " ", text))
    return text.strip(" ,.:-") + "."
