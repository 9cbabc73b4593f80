"""What `zscap fetch` downloads into the data folder."""

import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import InvalidData, InvalidOption
from ..files.packed import download
from ..folders import data_folder


class Dataset(NamedTuple):
    """A set of text files."""

    url: str  # of the folder that holds the files
    files: dict[str, str | int]  # by name, the published sha256; where none is published, the lines that are not empty
    note: str  # origin and licence, told to the user before the download


DATASETS = {
    "audibility": Dataset(
        url="https://raw.githubusercontent.com/arielshaulov/zero-shot-audio-captioning/"
        "c27bc303e5a4d836714858a27c02a812b62d537f/audibility-dataset/",
        files={"audible.txt": 7_002, "notAudible.txt": 8_383},
        note="Audibility sentences by the authors of arXiv 2309.03884; no licence is stated, so keep them to yourself.",
    ),
    "audioset": Dataset(
        url="https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/",
        files={"class_labels_indices.csv": "cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429"},
        note="The 527 class names of AudioSet (15 kB), CC BY 4.0; ZerAuCap's keywords.",
    ),
}
MANUAL = {  # what cannot be downloaded for the user, and how to get it
    "audiocaps": "AudioCaps' captions are free for academic purposes, its recordings are YouTube's, and you must get "
    "them: put test.csv of github.com/cdjkim/audiocaps (dataset/) into audiocaps/ of the data folder, and the "
    "recordings that still exist, each named by its youtube_id, into audiocaps/audio/. 975 of the test clips are what "
    "most papers report; how many were found is always said.",
    "clotho": "Clotho v2.1 is for non-commercial research: unpack clotho_audio_evaluation.7z and put "
    "clotho_captions_evaluation.csv of zenodo.org/records/4783391 beside it, both into clotho/ of the data folder.",
}


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
        InvalidData: the download fails, or a file is not the published one.
    """
    if name in MANUAL:
        raise InvalidData(f"{name}: zscap can't download it. {MANUAL[name]}")
    if name not in DATASETS:
        raise InvalidOption(f"data set {name!r} is unknown: choose one of {', '.join(sorted(DATASETS))}")
    dataset = DATASETS[name]
    target = Path(folder or data_folder()) / name
    url = (base_url or dataset.url).rstrip("/")
    print(f"{dataset.note}\nfrom {url}\nto   {target}", file=sys.stderr)
    for file, published in dataset.files.items():
        path = target / file
        try:
            download(f"{url}/{file}", path, published if isinstance(published, str) else None)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InvalidData(f"{url}/{file} can't be downloaded ({reason}): try again, or pass base_url") from error
        if isinstance(published, str):
            continue
        try:
            found = sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidData(f"{path} is damaged ({error}): delete it and fetch {name} again") from error
        if found != published:
            raise InvalidData(f"{path} has {found} sentences instead of {published}: delete it and fetch {name} again")
    return target
