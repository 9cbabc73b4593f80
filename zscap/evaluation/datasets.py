"""Recordings with reference captions, by one interface: published sets, the project's own clips, and the user's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData, suggestion
from ..folders import REPOSITORY, data_folder
from ..preset.downloads import MANUAL

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = REPOSITORY / "data" / "published_results.csv"  # what papers report on some of the sets
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus")
HINTS = MANUAL | {"soundscapes": "they are in a clone of the repository, not in the wheel"}
CAPTIONS = [f"caption_{number}" for number in range(1, 6)]  # columns of sets that have five captions a recording


@dataclass(frozen=True)
class Clip:
    """A recording.

    Attributes:
        name: unlike any other of its set.
        source: the file.
        references: captions by people; none in sets that only have classes.
        sound: its class, where it has one.
    """

    name: str
    source: Path
    references: tuple[str, ...] = ()
    sound: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Recordings that are there, in order, and those that should be.

    Attributes:
        name: of the set, or of the user's file.
        clips: whose files exist.
        missing: names of the others.
    """

    name: str
    clips: list[Clip]
    missing: list[str] = field(default_factory=list)

    def checksum(self) -> str:
        """sha256 over names, references and bytes of all clips, in order."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(repr((clip.name, clip.references, clip.sound)).encode("utf-8", "surrogateescape"))
            digest.update(clip.source.read_bytes() if clip.source.is_file() else b"")
        return digest.hexdigest()

    def first(self, number: int | None) -> Dataset:
        """The first so many clips; None keeps all.

        Raises:
            InvalidData: fewer than one.
        """
        if number is not None and number < 1:
            raise InvalidData(f"clips={number}: must be at least 1")
        return Dataset(self.name, self.clips[:number], self.missing)

    def part(self, number: int, of: int) -> Dataset:
        """Every `of`-th clip from the `number`-th on; all parts together are the set.

        Raises:
            InvalidData: no such part, or an empty one.
        """
        if not 1 <= number <= of or of > len(self.clips):
            raise InvalidData(
                f"shard {number}/{of}: choose k/n with 1 <= k <= n, and n at most {len(self.clips)} clips"
            )
        return Dataset(self.name, self.clips[number - 1 :: of], self.missing)


def read_dataset(name: str | Path, folder: str | Path | None = None) -> Dataset:
    """The clips of a set by its name, or of a csv file with the columns `file` and `caption`.

    In such a file each row holds one caption: a recording of several has several rows. Paths are relative to the file;
    a column `sound` may name the class.

    Args:
        name: a key of `DATASETS`, or a path that ends in .csv.
        folder: where published sets lie (data/README.md); None is `data_folder()`.

    Raises:
        InvalidData: an unknown name, a table without these columns, or none of its recordings are there.

    Examples:
        >>> clips = read_dataset("soundscapes").clips
        >>> len(clips), clips[0].name, clips[0].references[0]
        (64, 'dog_bark-1.flac', 'A large dog barks twice')
    """
    if not str(name).lower().endswith(".csv") and name not in DATASETS:
        known = ", ".join(DATASETS)
        raise InvalidData(f"data {str(name)!r}: give a .csv with the columns file and caption, or one of {known}")
    hint = HINTS.get(str(name), "see data/README.md")
    try:
        read = DATASETS.get(str(name))
        clips = list(read(Path(folder or data_folder())) if read else _own(Path(name)))
    except InvalidData as error:  # its table isn't there, or is another
        raise (InvalidData(f"{error}; {hint}") if name in DATASETS else error) from None
    there = [clip for clip in clips if os.path.isfile(clip.source)]
    if not there:
        why = f"{len(clips)} recordings are listed and none is there" if clips else "nothing found"
        raise InvalidData(f"data {str(name)!r}: {why}; {hint}")
    return Dataset(str(name), there, [clip.name for clip in clips if not os.path.isfile(clip.source)])


def _table(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table of texts without spaces around them.

    Raises:
        InvalidData: no such file, no table, or a column is missing.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig").fillna("")
    except (OSError, ValueError) as error:
        raise InvalidData(f"{file}: no table can be read ({error})") from None
    for column in columns:
        if column not in table:
            known = list(table.columns)
            raise InvalidData(f"{file}: has no column {column!r} but {', '.join(known)}: {suggestion(column, known)}")
    return table.map(str.strip)


def _own(file: Path) -> Iterable[Clip]:
    table = _table(file, ("file", "caption"))
    for number in table.index[table["file"] == ""]:
        raise InvalidData(f"{file}: line {number + 2} names no file; write one, or delete the line")
    if "sound" not in table:
        table["sound"] = ""
    for name, rows in table.groupby("file", sort=False):
        sounds = [*filter(None, rows["sound"]), None]
        yield Clip(name, file.parent / name, tuple(filter(None, rows["caption"])), sounds[0])


def _soundscapes(folder: Path) -> Iterable[Clip]:
    file = REPOSITORY / "data" / "soundscapes.csv"
    for row in _table(file, ("file", "sounds", *CAPTIONS)).to_dict("records"):
        sound = None if "+" in row["sounds"] else row["sounds"]
        yield Clip(row["file"], file.with_suffix("") / row["file"], tuple(map(row.get, CAPTIONS)), sound)


def _of_classes(*folders: str) -> Callable[[Path], Iterable[Clip]]:
    """Sets that have a folder for each class."""

    def clips(folder: Path) -> Iterable[Clip]:
        for below in folders:
            for path in sorted((folder / below).glob("*/*")):
                if path.suffix.lower() in SUFFIXES:
                    yield Clip(f"{path.parent.name}/{path.name}", path, (), path.parent.name)

    return clips


def _audiocaps(folder: Path) -> Iterable[Clip]:
    """The test split: audiocaps/test.csv as published, and recordings named by YouTube's id."""
    audio = {path.stem: path for path in sorted((folder / "audiocaps" / "audio").glob("*"))}
    table = _table(folder / "audiocaps" / "test.csv", ("youtube_id", "start_time", "caption"))
    for (video, start), rows in table.groupby(["youtube_id", "start_time"], sort=False):
        stems = (video, f"Y{video}", f"{video}_{start}", f"{video}_{1000 * int(float(start))}")
        path = next((audio[stem] for stem in stems if stem in audio), folder / "audiocaps" / "audio" / f"{video}.wav")
        yield Clip(video, path, tuple(rows["caption"]))


def _clotho(folder: Path) -> Iterable[Clip]:
    """The evaluation split of version 2.1, as its archive unpacks."""
    folder = folder / "clotho"
    for row in _table(folder / "clotho_captions_evaluation.csv", ("file_name", *CAPTIONS)).to_dict("records"):
        yield Clip(row["file_name"], folder / "evaluation" / row["file_name"], tuple(map(row.get, CAPTIONS)))


DATASETS: dict[str, Callable[[Path], Iterable[Clip]]] = {
    "soundscapes": _soundscapes,
    "esc50": _of_classes("esc10", "sounds/esc50"),
    "kitchen20": _of_classes("sounds/kitchen20"),
    "audiocaps": _audiocaps,
    "clotho": _clotho,
}
