"""Sentences about what can be heard and what cannot: readers, and splits of them."""

from pathlib import Path

import numpy as np
import pandas as pd

from studies.texts import COLUMNS, labelled_texts
from zscap.errors import InvalidData
from zscap.evaluation import corpora
from zscap.evaluation.corpora import clean_sentence, read_corpora, usable
from zscap.folders import REPOSITORY, data_folder

OWN_AUDIBILITY = REPOSITORY / "data" / "audibility.csv"
PUBLISHED_AUDIBILITY = {"audible.txt": True, "notAudible.txt": False}  # file -> can what it says be heard


def _lines(path: Path) -> tuple:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines, range(len(lines))


CORPORA = corpora.CORPORA | {
    f"audibility/{file}": (Path(file).stem.lower(), _lines, audible, None)
    for file, audible in PUBLISHED_AUDIBILITY.items()
}


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
        return _published(data_folder() / "audibility")
    table = labelled_texts(OWN_AUDIBILITY if source == "own" else source)
    table = table.drop(columns=COLUMNS, errors="ignore").rename(columns={new: old for old, new in COLUMNS.items()})
    return table.drop_duplicates("sentence", ignore_index=True)


def read_sentences(folder: str | Path | None, repository: str | Path | None = None) -> pd.DataFrame:
    """Read every sentence of a data folder; if it has none, the repository's own `data/audibility.csv`.

    Args:
        folder: where data lie, such as `data_folder()`; None reads none of it.
        repository: a clone of this project; None leaves its sentences out.

    Returns:
        DataFrame as of `zscap.evaluation.corpora.read_corpora`; the repository's own have the source `own`.

    Raises:
        InvalidData: there are no sentences, or a file isn't what its name says.
    """
    if folder and (repository is None or any((Path(folder) / file).exists() for file in CORPORA)):
        return read_corpora(folder, CORPORA)
    if repository is None:
        raise InvalidData("no sentences: name a data folder, or a clone of the repository")
    own = load_audibility(Path(repository) / "data/audibility.csv")
    texts, pairs = own.sentence.map(clean_sentence), own.get("pair", own.index)
    table = pd.DataFrame({"text": texts, "source": "own", "audio": own.audible})
    return usable(table.assign(held_out=pd.factorize(pairs)[0] % 20 == 19))


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


def _published(folder: Path) -> pd.DataFrame:
    tables = []
    for file, audible in PUBLISHED_AUDIBILITY.items():
        try:
            lines = (folder / file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidData(
                f"{folder / file} can't be read ({error}): run `zscap fetch audibility`, or set ZSCAP_DATA"
            ) from error
        tables.append(pd.DataFrame({"sentence": lines, "audible": audible}))
    table = pd.concat(tables, ignore_index=True)
    table["sentence"] = table["sentence"].str.strip()
    table = table[table["sentence"] != ""].drop_duplicates()
    return table.drop_duplicates("sentence", keep=False, ignore_index=True)  # without those that both files have
