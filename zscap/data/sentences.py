"""Readers of text data, and splits of them."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InvalidData
from ..files import REPOSITORY, data_folder

OWN_AUDIBILITY = REPOSITORY / "data" / "audibility.csv"
PUBLISHED_AUDIBILITY = {"audible.txt": True, "notAudible.txt": False}  # file -> can what it says be heard
COLUMNS = {"sentence": "text", "audible": "label"}  # of an audibility table -> of any labelled one


def labelled_texts(source: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Read a table of texts that have a property (label 1 or true) and texts that don't (0 or false).

    Args:
        source: the table, or a csv file that holds it, with the columns `text` and `label`, or `sentence` and
            `audible` as in data/audibility.csv.

    Returns:
        DataFrame with the columns `text` (str) and `label` (bool), and whatever else the table has.

    Raises:
        InvalidData: the file isn't there, a column is missing, or a row has no text or another label.
    """
    if not isinstance(source, pd.DataFrame | str | Path):
        raise InvalidData(f"the source is of type {type(source).__name__}: give a table or a csv file")
    table, name = (source, "the table") if isinstance(source, pd.DataFrame) else (_read_csv(Path(source)), source)
    table = table.rename(columns={old: new for old, new in COLUMNS.items() if new not in table})
    if missing := [column for column in COLUMNS.values() if list(table).count(column) != 1]:
        raise InvalidData(f"{name} needs one column {missing[0]}, it has {list(table)}: rename its columns")
    textless = ~table.text.map(lambda text: isinstance(text, str) and bool(text.strip())).astype(bool)
    if (bad := textless | ~table.label.isin([0, 1])).any():
        row = table[bad].iloc[0]
        shown = " ".join(f"{row.text!r}, {row.label!r}".split())[:100]
        raise InvalidData(f"{name} has a row {shown}: text must be a text, label 1 or 0")
    return table.assign(label=table.label.astype(bool))


def load_audibility(source: str | Path = "own") -> pd.DataFrame:
    """Read sentences about what can be heard and about what can't.

    Args:
        source: "own" for this project's sentences (data/audibility.csv of a clone), "published" for the set of
            arXiv 2309.03884 (`fetch("audibility")`), or a csv file as of `labelled_texts`.

    Returns:
        DataFrame with the columns `sentence` (str, none twice) and `audible` (bool); our own also have `pair`, the
        number that the audible and the inaudible sentence about one subject share.

    Raises:
        InvalidData: the file isn't there, or isn't such a table.
    """
    if source == "published":
        return _load_published(data_folder() / "audibility")
    table = labelled_texts(OWN_AUDIBILITY if source == "own" else source)
    table = table.drop(columns=COLUMNS, errors="ignore").rename(columns={new: old for old, new in COLUMNS.items()})
    return table.drop_duplicates("sentence", ignore_index=True)


def read_sentences(folder: str | Path | None, repository: str | Path | None = None) -> pd.DataFrame:
    """Read every sentence of a data folder; if it has none, the repository's own `data/audibility.csv`.

    Args:
        folder: where data lie, such as `data_folder()`; None reads none of it.
        repository: a clone of this project; None leaves its sentences out.

    Returns:
        DataFrame with `text` (see `clean_sentence`), `source` (flickr, audiocaps, clotho, audible, notaudible, own),
        `audio` (True where the text describes a sound) and `held_out` (every 20th image or recording, AudioCaps'
        validation split whole). Sentences under 3 or over 24 words are dropped, missing files left out.

    Raises:
        InvalidData: there are no sentences, or a file isn't what its name says.
    """
    tables = []
    for file, (source, reader, audio, held_out) in CORPORA.items() if folder else ():
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
    if repository and not tables:
        own = load_audibility(Path(repository) / "data/audibility.csv")
        texts, pairs = own.sentence.map(clean_sentence), own.get("pair", own.index)
        table = pd.DataFrame({"text": texts, "source": "own", "audio": own.audible})
        tables.append(table.assign(held_out=pd.factorize(pairs)[0] % 20 == 19))
    if not tables:
        raise InvalidData(f"no sentences in {folder}: fetch a data set, or name a clone of the repository as well")
    sentences = pd.concat(tables, ignore_index=True).drop(columns="key", errors="ignore").dropna().astype({"text": str})
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


def normalised(text: str) -> str:
    """Return what two texts share that differ in case, spaces or final punctuation alone.

    >>> normalised(" A dog  barks. ")
    'a dog barks'
    """
    return " ".join(text.split()).casefold().rstrip(" .!?,;:")


def near_duplicates(sentences: list[str], *, cosine: float = 0.7) -> np.ndarray:
    """Group sentences that say nearly the same, so that a split can keep each group on one side.

    Two sentences join where the cosine of their tf-idf vectors (words without stop words) reaches `cosine`; a group
    is whatever hangs together.

    Returns:
        int array, shape = (n,), the number of each sentence's group.
    """
    from scipy.sparse.csgraph import connected_components  # late, like scikit-learn: readers need neither
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        words = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(sentences)
    except ValueError:  # stop words alone
        return pd.factorize(np.array(sentences, dtype=object))[0]
    similarity = words @ words.T
    similarity.data[similarity.data < cosine] = 0
    similarity.eliminate_zeros()
    return connected_components(similarity, directed=False)[1]


def split(table: pd.DataFrame, *, seed: int = 0) -> pd.Series:
    """Assign 70 % of a table from `load_audibility` to "train", 15 % to "validation" and 15 % to "test".

    The sentences of a pair and near-duplicates stay together, so that a test sentence is new in more than its wording.

    Returns:
        str Series named `split`, with the table's index.

    Raises:
        InvalidData: the table has no sentences.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if "sentence" not in table or table.empty:
        raise InvalidData(f"the table has {len(table)} rows, columns {list(table)}: give sentences, as load_audibility")
    groups = near_duplicates(table.sentence.tolist())
    if "pair" in table:
        links = csr_array((np.ones(len(table)), (groups, pd.factorize(table.pair)[0])))
        both = connected_components(links @ links.T, directed=False)[1]  # groups that share a pair are one
        groups = both[groups]
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    share = np.bincount(groups)[order].cumsum() / len(table)
    part_of = np.empty(len(order), dtype=int)
    part_of[order] = np.searchsorted([0.70, 0.85], share - 1e-9, side="right")
    return pd.Series(np.array(["train", "validation", "test"])[part_of[groups]], index=table.index, name="split")


def _load_published(folder: Path) -> pd.DataFrame:
    sentences = {}
    for file, audible in PUBLISHED_AUDIBILITY.items():
        if not (folder / file).is_file():
            raise InvalidData(f"{folder / file} isn't there: run `zscap fetch audibility`, or set ZSCAP_DATA")
        try:
            sentences[audible] = dict.fromkeys(_lines(folder / file)[0])
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidData(f"{folder / file} is damaged ({error}): delete it, fetch audibility") from error
    both = sentences[True].keys() & sentences[False].keys()
    return pd.DataFrame(
        [(line, audible) for audible, lines in sentences.items() for line in lines if line not in both],
        columns=["sentence", "audible"],
    )


def _read_csv(path: Path) -> pd.DataFrame:
    if not os.path.exists(path):
        raise InvalidData(f"{path} isn't there: give a csv file or a table with the columns text and label")
    try:
        return pd.read_csv(path)
    except Exception as error:  # a folder, no rows, another number of columns, not utf-8, packed and damaged
        raise InvalidData(f"{path} is no csv file ({' '.join(str(error).split())}): save it as one") from error


# Readers of `read_sentences`: the texts of a file, and for each what it describes, so that a split can keep it whole.


def _flickr(path: Path) -> tuple:
    table = pd.read_csv(path, sep="\t", names=["image", "text"], quoting=3)
    return table.text, table.image.str.split("#").str[0]


def _audiocaps(path: Path) -> tuple:
    table = pd.read_csv(path)
    return table["caption"], table["youtube_id"]


def _clotho(path: Path) -> tuple:
    recordings = json.loads(path.read_text(encoding="utf-8"))
    return zip(*((text, i) for i, recording in enumerate(recordings) for text in recording["captions"]), strict=True)


def _lines(path: Path) -> tuple:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines, range(len(lines))


CORPORA = {  # file -> name, reader, whether it is about sounds, whether it is held out (None: every 20th)
    "text/flickr8k_captions.tsv": ("flickr", _flickr, False, None),
    "text/audiocaps_train.csv": ("audiocaps", _audiocaps, True, False),
    "text/audiocaps_val.csv": ("audiocaps", _audiocaps, True, True),
    "text/clotho_train.json": ("clotho", _clotho, True, None),
    **{f"audibility/{file}": (Path(file).stem.lower(), _lines, b, None) for file, b in PUBLISHED_AUDIBILITY.items()},
}
