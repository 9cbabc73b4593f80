"""Text data: where they lie, their download, their readers and splits, and captions made of phrases."""

import json
import os
import re
import sys
from pathlib import Path
from random import Random
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
PUBLISHED_AUDIBILITY = {"audible.txt": True, "notAudible.txt": False}  # file -> can what it says be heard


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
    "audioset": Dataset(
        url="http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/",
        lines={"class_labels_indices.csv": 528},
        note="The 527 class names of AudioSet (15 kB), CC BY 4.0; ZerAuCap's keywords.",
    ),
}


def data_folder() -> Path:
    """Folder of the data that zscap doesn't ship: $ZSCAP_DATA, else the user's cache."""
    return Path(os.environ.get("ZSCAP_DATA") or pooch.os_cache("zscap"))


def fetch(name: str, folder: str | Path | None = None, *, base_url: str | None = None) -> Path:
    """Download a data set into `folder`/`name`, except the files that are there already.

    Each file moves to its place when it is complete, so a download that was cut off never counts as done.

    Args:
        name: a key of `DATASETS`.
        folder: where data lie; None is `data_folder()`.
        base_url: a mirror of the data set's folder.

    Returns:
        The data set's folder.

    Raises:
        InvalidOption: an unknown name.
        InvalidData: the download fails, or a file has another number of sentences than the published one.
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
    """Read sentences about what can be heard and about what can't.

    Args:
        source: "own" for this project's sentences (data/audibility.csv of a clone), "published" for the set of
            arXiv 2309.03884 (`fetch("audibility")`), or a csv file with the columns `sentence` and `audible`.

    Returns:
        DataFrame with the columns `sentence` (str, none twice) and `audible` (bool); our own also have `pair`, the
        number that the audible and the inaudible sentence about one subject share.

    Raises:
        InvalidData: the file isn't there, or isn't such a table.
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


def read_sentences(folder: str | Path | None, repository: str | Path | None = None) -> pd.DataFrame:
    """Read every sentence of a data folder; if it has none, the repository's own `data/audibility.csv`.

    Args:
        folder: where data lie, such as `data_folder()`; None reads none of it.
        repository: a clone of this project; None leaves its sentences out.

    Returns:
        DataFrame with `text` (see `clean_sentence`), `source` (flickr, audiocaps, clotho, audible, notaudible, own),
        `audio` (True where the text describes a sound) and `held_out` (every 20th image or recording, AudioCaps'
        validation split whole). Sentences under 3 or over 24 words are dropped, missing files left out.
    """
    folder, tables = Path(folder or os.devnull), []

    def add(source: str, texts, keys, audio, held_out=None) -> None:
        table = pd.DataFrame({"text": list(texts), "source": source, "audio": audio, "key": list(keys)})
        table["held_out"] = table["key"].factorize()[0] % 20 == 19 if held_out is None else held_out
        tables.append(table)

    if (path := folder / "text/flickr8k_captions.tsv").exists():
        flickr = pd.read_csv(path, sep="\t", names=["image", "text"], quoting=3)
        add("flickr", flickr["text"], flickr["image"].str.split("#").str[0], False)
    for part in ("train", "val"):
        if (path := folder / f"text/audiocaps_{part}.csv").exists():
            captions = pd.read_csv(path)
            add("audiocaps", captions["caption"], captions["youtube_id"], True, held_out=part == "val")
    if (path := folder / "text/clotho_train.json").exists():
        recordings = json.loads(path.read_text())
        pairs = [(text, i) for i, recording in enumerate(recordings) for text in recording["captions"]]
        add("clotho", *zip(*pairs, strict=True), True)
    for file, audible in PUBLISHED_AUDIBILITY.items():
        if (path := folder / "audibility" / file).exists():
            lines = _lines(path)
            add(path.stem.lower(), lines, range(len(lines)), audible)
    if repository and not tables:
        own = load_audibility(Path(repository) / "data/audibility.csv")
        add("own", own["sentence"], own["pair"], own["audible"])
    sentences = pd.concat(tables, ignore_index=True).drop(columns="key").dropna()
    sentences["text"] = sentences["text"].map(clean_sentence)
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


def labelled_texts(source: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Read a table of texts that have a property (label 1 or true) and texts that don't (0 or false).

    Args:
        source: the table, or a csv file that holds it.

    Returns:
        DataFrame with the columns `text` (str) and `label` (bool), and whatever else the table has.

    Raises:
        InvalidData: the file isn't there, a column is missing, or a row has no text or another label.
    """
    if isinstance(source, pd.DataFrame):
        table, name = source, "the table"
    elif Path(source).is_file():
        try:
            table, name = pd.read_csv(source), source
        except ValueError as error:  # no rows, another number of columns, not utf-8
            raise InvalidData(f"{source} is no csv file ({' '.join(str(error).split())}): save it as one") from error
    else:
        raise InvalidData(f"{source} isn't there: give a csv file or a table with the columns text and label")
    if missing := {"text", "label"} - set(table.columns):
        raise InvalidData(f"{name} lacks the column {max(missing)}, it has {list(table.columns)}: rename its columns")
    textless = ~table.text.map(lambda text: isinstance(text, str) and bool(text.strip()))
    if (bad := textless | ~table.label.isin([0, 1])).any():
        row = table[bad].iloc[0]
        raise InvalidData(f"{name} has a row {row.text!r}, {row.label!r}: text must be a text, label 1 or 0")
    return table.assign(label=table.label.astype(bool))


def near_duplicates(sentences: list[str], *, cosine: float = 0.7) -> np.ndarray:
    """Group sentences that say nearly the same, so that a split can keep each group on one side.

    Two sentences join where the cosine of their tf-idf vectors (words without stop words) reaches `cosine`; a group
    is whatever hangs together.

    Returns:
        int array, shape = (n,), the number of each sentence's group.
    """
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(sentences)
    similarity = words @ words.T
    similarity.data[similarity.data < cosine] = 0
    similarity.eliminate_zeros()
    return connected_components(similarity, directed=False)[1]


def split(table: pd.DataFrame, *, seed: int = 0) -> pd.Series:
    """Assign 70 % of a table from `load_audibility` to "train", 15 % to "validation" and 15 % to "test".

    The sentences of a pair and near-duplicates stay together, so that a test sentence is new in more than its wording.

    Returns:
        str Series named `split`, with the table's index.
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


# Ways to say what is heard in each class of ESC-10.
CLASS_PHRASES = {
    "baby_cry": (
        "a baby cries|a baby is crying|a baby crying|an infant cries loudly|an infant wails|"
        "a baby sobs and wails|a crying baby|a newborn baby cries|the cry of a baby|a toddler is crying|"
        "babies cry|a child cries"
    ),
    "chainsaw": (
        "a chainsaw runs|a chainsaw is running|a chainsaw cuts wood|a chainsaw revs|a saw cuts through wood|"
        "a chainsaw buzzes loudly|a person uses a chainsaw|a chain saw is cutting a tree|the buzz of a chainsaw|"
        "chainsaws buzz"
    ),
    "clock_tick": (
        "a clock ticks|a clock is ticking|a clock ticking|the ticking of a clock|ticking of a clock|"
        "a clock ticks steadily|a clock tick tocks rhythmically|a watch is ticking|the tick of an old clock|"
        "an alarm clock ticks"
    ),
    "dog_bark": (
        "a dog barks|a dog is barking|a dog barking|a dog barks loudly|dogs bark|dogs are barking|a puppy barks|"
        "the bark of a dog|a small dog yaps|a large dog barks twice|a dog barks in the distance|"
        "a dog growls and barks"
    ),
    "fire_crackling": (
        "a fire crackles|a fire is crackling|fire crackling|a campfire crackles and pops|crackling of a fire|"
        "wood burns and crackles in a fireplace|a fire burns|the crackle of a fire|flames crackle|"
        "a bonfire is burning"
    ),
    "helicopter": (
        "a helicopter flies|a helicopter is flying|a helicopter flies overhead|helicopter blades whir|"
        "a helicopter hovers|the sound of a helicopter|a helicopter engine runs|a helicopter passes by|"
        "helicopters fly by|the rotors of a helicopter spin"
    ),
    "person_sneeze": (
        "a person sneezes|a man sneezes|a woman sneezes|someone sneezes|a person is sneezing|a person sneezing|"
        "someone is sneezing loudly|a sneeze|a loud sneeze|a man sneezes twice|people sneeze|a child sneezes"
    ),
    "rain": (
        "rain falls|rain is falling|it is raining|rain falling|heavy rain pours down|rain falls on a roof|"
        "rain falls steadily|the sound of rain|rain pours|raindrops patter on the ground|rain is pouring|"
        "rain hits a surface"
    ),
    "rooster": (
        "a rooster crows|a rooster is crowing|a rooster crowing|a rooster crows loudly|the crow of a rooster|"
        "roosters crow|a cock crows|a rooster crows in the morning|a rooster calls|a rooster crows on a farm"
    ),
    "sea_waves": (
        "waves crash|waves crash on the shore|waves are crashing|ocean waves crash|sea waves roll in|"
        "the sound of ocean waves|waves break on a beach|waves wash ashore|the sea roars|"
        "the surf crashes against the rocks|ocean waves|waves roll onto the beach"
    ),
}
JOINTS = ("{} and {}", "{} while {}", "{} as {}", "{} with {} in the background", "{}, and {}", "{} followed by {}")


def class_captions(pairs: int, seed: int = 0) -> pd.DataFrame:
    """Make captions of the ten ESC-10 classes: every phrase of one class, then `pairs` random captions of two.

    Returns:
        DataFrame with `text` (lower case, full stop, none twice), `first` and `second` (class names; equal for
        captions of one class).
    """
    random = Random(seed)
    rows = [(f"{phrase}.", name, name) for name, phrases in CLASS_PHRASES.items() for phrase in phrases.split("|")]
    for _ in range(pairs):
        first, second = random.sample(sorted(CLASS_PHRASES), 2)
        phrases = [random.choice(CLASS_PHRASES[name].split("|")) for name in (first, second)]
        rows.append((random.choice(JOINTS).format(*phrases) + ".", first, second))
    return pd.DataFrame(rows, columns=["text", "first", "second"]).drop_duplicates("text").reset_index(drop=True)


# Words of `tense_sentences`; those of the test are in none of its sentences for training.
TENSE_WORDS = {
    "train": {
        "verbs": (
            "barks barking, crows crowing, cries crying, runs running, falls falling, hums humming, sings singing, "
            "talks talking, laughs laughing, rings ringing, drips dripping, buzzes buzzing, plays playing, "
            "walks walking, jumps jumping, sits sitting, stands standing, sleeps sleeping, rumbles rumbling, "
            "crackles crackling, whistles whistling, snores snoring, blows blowing, passes passing, smiles smiling, "
            "eats eating, climbs climbing, splashes splashing, roars roaring, coughs coughing, squeaks squeaking, "
            "sprays spraying, yells yelling, bangs banging, clicks clicking, growls growling, dances dancing, "
            "looks looking, holds holding, moves moving"
        ),
        "subjects": "dog, man, woman, child, bird, machine, bell, clock, car, crowd, engine, baby, river, rooster",
        "places": ", loudly, in the distance, near a road, outside, in a room, on the street, twice, with a friend",
    },
    "test": {
        "verbs": (
            "speaks speaking, chirps chirping, sneezes sneezing, ticks ticking, crashes crashing, hits hitting, "
            "howls howling, swims swimming, rides riding, flows flowing, claps clapping, meows meowing, turns turning, "
            "beeps beeping, throws throwing"
        ),
        "subjects": "cat, boy, girl, person, truck, wind, horse, train, duck",
        "places": ", softly, by a lake, far away, at night",
    },
}


def tense_sentences(pairs: int = 800, seed: int = 0) -> pd.DataFrame:
    """Make sentences in the simple present ("a dog barks") and the same with participles ("a dog barking").

    They teach a classifier a style, which has nothing to do with what is heard or seen. Half of the participles follow
    an "is". The words of the test are new, so that knowing the training's words by heart is worth nothing there.

    Args:
        pairs: drawn for training, a third as many for the test; what is drawn again is left out.

    Returns:
        DataFrame with `text` (none twice), `label` (1 for the simple present, else 0), `pair` (the number that two
        sentences share) and `part` ("train" or "test").
    """
    random, rows = Random(seed), []
    for part, count in {"train": pairs, "test": pairs // 3}.items():
        verbs, subjects, places = (words.split(", ") for words in TENSE_WORDS[part].values())
        for _ in range(count):
            article, progressive, pair = random.choice(("a", "the")), random.choice(("", "is ")), len(rows) // 2
            clauses = [
                (f"{article} {subject}", verb.split())
                for subject, verb in zip(random.sample(subjects, 2), random.sample(verbs, 2), strict=True)
            ][: random.choice((1, 2))]
            place = random.choice(places)
            present = " and ".join(f"{subject} {finite}" for subject, (finite, _) in clauses)
            continuing = " and ".join(f"{subject} {progressive}{participle}" for subject, (_, participle) in clauses)
            rows += [(f"{text} {place}".strip(), label, pair, part) for text, label in ((present, 1), (continuing, 0))]
    table = pd.DataFrame(rows, columns=["text", "label", "pair", "part"])
    return table.drop_duplicates("text", ignore_index=True)


def _load_published(folder: Path) -> pd.DataFrame:
    sentences = {}
    for file, audible in PUBLISHED_AUDIBILITY.items():
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
