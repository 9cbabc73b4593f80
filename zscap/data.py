"""Where data lie, the audibility sentences, and the download of the published set."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pooch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from zscap.errors import InvalidData, InvalidOption

REPOSITORY = Path(__file__).resolve().parent.parent
OWN_AUDIBILITY = REPOSITORY / "data" / "audibility.csv"


class Dataset(NamedTuple):
    """A set of text files that `fetch` downloads, one record per line."""

    url: str  # of the folder that holds the files
    lines: dict[str, int]  # file name -> number of lines that are not empty
    note: str  # origin and licence, told to the user before the download


DATASETS = {
    "audibility": Dataset(
        url="https://raw.githubusercontent.com/arielshaulov/zero-shot-audio-captioning/"
        "c27bc303e5a4d836714858a27c02a812b62d537f/audibility-dataset/",
        lines={"audible.txt": 7_002, "notAudible.txt": 8_383},
        note="Audibility sentences by the authors of arXiv 2309.03884; no licence is stated, so keep them to yourself.",
    ),
}


def data_folder() -> Path:
    """The folder of the data that zscap doesn't ship: $ZSCAP_DATA, else the user's cache."""
    return Path(os.environ.get("ZSCAP_DATA") or pooch.os_cache("zscap"))


def fetch(name: str, folder: str | Path | None = None, *, base_url: str | None = None) -> Path:
    """Download a data set into `folder`/`name`; files that are there already are kept.

    Each file is written beside its place and moved there when complete, so that a download that was cut off never
    counts as done.

    Parameters
    ----------
    name : a key of `DATASETS`
    folder : where data lie, `data_folder()` by default
    base_url : a mirror of the data set's folder

    Returns
    -------
    The data set's folder.

    Raises
    ------
    InvalidOption for an unknown name, InvalidData where the download fails or the files aren't the expected ones.
    """
    if name not in DATASETS:
        raise InvalidOption(f"data set {name!r} is unknown: choose one of {', '.join(sorted(DATASETS))}")
    dataset = DATASETS[name]
    target = Path(folder or data_folder()) / name
    url = (base_url or dataset.url).rstrip("/")
    print(f"{dataset.note}\nfrom {url}\nto   {target}", file=sys.stderr)
    pooch.get_logger().setLevel("WARNING")
    for file, expected in dataset.lines.items():
        try:
            path = pooch.retrieve(
                f"{url}/{file}", known_hash=None, fname=file, path=target, progressbar=sys.stderr.isatty()
            )
        except OSError as error:
            reason = " ".join(str(error).split())
            raise InvalidData(f"{url}/{file} can't be downloaded ({reason}): try again, or pass base_url") from error
        found = len(_lines(Path(path)))
        if found != expected:
            raise InvalidData(f"{path} has {found} sentences instead of {expected}: delete it and fetch {name} again")
    return target


def load_audibility(source: str | Path = "own") -> pd.DataFrame:
    """Sentences about what can be heard and about what can't.

    Parameters
    ----------
    source : "own" for the sentences of this project (data/audibility.csv of a clone), "published" for the set of
        arXiv 2309.03884 (`fetch("audibility")`), or a csv file with the columns sentence and audible

    Returns
    -------
    DataFrame with the columns sentence (str) and audible (bool); our own sentences also have pair, the number that
    the audible and the inaudible sentence about one subject share. No sentence occurs twice.
    """
    if source == "published":
        return _load_published(data_folder() / "audibility")
    path = OWN_AUDIBILITY if source == "own" else Path(source)
    if not path.is_file():
        raise InvalidData(f"{path} isn't there: pass 'own' in a clone of the repository, 'published', or a csv file")
    table = pd.read_csv(path)
    if missing := {"sentence", "audible"} - set(table.columns):
        raise InvalidData(f"{path} lacks the column {min(missing)}: it needs sentence and audible")
    if not table.audible.isin([0, 1]).all() or table.sentence.isna().any():
        raise InvalidData(f"{path} has a row without a sentence or whose audible is neither 0 nor 1: mend that row")
    table["audible"] = table.audible.astype(bool)
    return table.drop_duplicates("sentence", ignore_index=True)


def near_duplicates(sentences: list[str], *, cosine: float = 0.7) -> np.ndarray:
    """Group sentences that say nearly the same, so that a split can keep each group on one side.

    Two sentences are joined where the cosine of their tf-idf vectors (words without stop words) reaches `cosine`;
    a group is whatever hangs together.

    Returns
    -------
    group : int array, shape = (n,)
    """
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(sentences)
    similarity = words @ words.T
    similarity.data[similarity.data < cosine] = 0
    similarity.eliminate_zeros()
    return connected_components(similarity, directed=False)[1]


def split(table: pd.DataFrame, *, seed: int = 0) -> pd.Series:
    """Assign 70 % of a table from `load_audibility` to "train", 15 % to "validation" and 15 % to "test".

    The sentences of a pair and near-duplicates stay together, so that a test sentence is new in more than its wording.
    """
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
    for file, audible in (("audible.txt", True), ("notAudible.txt", False)):
        if not (folder / file).is_file():
            raise InvalidData(f"{folder / file} isn't there: run `zscap fetch audibility`, or set ZSCAP_DATA")
        sentences[audible] = dict.fromkeys(_lines(folder / file))
    both = sentences[True].keys() & sentences[False].keys()
    return pd.DataFrame(
        [(line, audible) for audible, lines in sentences.items() for line in lines if line not in both],
        columns=["sentence", "audible"],
    )


def _lines(path: Path) -> list[str]:
    """The lines of a text file that aren't empty."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
