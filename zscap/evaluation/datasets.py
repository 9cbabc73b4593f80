"""Recordings with reference captions, by one interface: published sets, the project's own clips, and the user's."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidData, suggestion
from ..folders import REPOSITORY, data_folder
from ..preset.downloads import MANUAL

PUBLISHED = REPOSITORY / "data" / "published_results.csv"  # what papers report on some of the sets
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus")


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
    hint = MANUAL.get(str(name), "see data/README.md")
    if str(name).lower().endswith(".csv"):
        dataset = _found(str(name), _own(Path(name)))
    elif name in DATASETS:
        try:
            dataset = _found(str(name), DATASETS[name](Path(folder or data_folder())))
        except InvalidData as error:  # its table isn't there, or is another
            raise InvalidData(f"{error}; {hint}") from None
    else:
        known = ", ".join(DATASETS)
        raise InvalidData(f"data {str(name)!r}: give a .csv with the columns file and caption, or one of {known}")
    if not dataset.clips:
        why = f"{len(dataset.missing)} recordings are listed and none is there" if dataset.missing else "nothing found"
        raise InvalidData(f"data {dataset.name!r}: {why}; {hint}")
    return dataset


def _found(name: str, clips: Iterable[Clip]) -> Dataset:
    there, missing = [], []
    for clip in clips:
        if os.path.isfile(clip.source):
            there.append(clip)
        else:
            missing.append(clip.name)
    return Dataset(name, there, missing)


def _rows(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table.

    Raises:
        InvalidData: no such file, no table, or a column is missing.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            rows = list(reader)
            names = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidData(f"{file}: no table can be read ({reason})") from None
    for column in columns:
        if column not in names:
            raise InvalidData(f"{file}: has no column {column!r} but {', '.join(names)}: {suggestion(column, names)}")
    return rows


def _own(file: Path) -> Iterable[Clip]:
    captions: dict[str, list[str]] = defaultdict(list)
    sounds: dict[str, str | None] = {}
    for number, row in enumerate(_rows(file, ("file", "caption")), 2):
        name, caption = (row["file"] or "").strip(), (row["caption"] or "").strip()
        if not name:
            raise InvalidData(f"{file}: line {number} names no file; write one, or delete the line")
        captions[name] += [caption] if caption else []
        sounds[name] = (row.get("sound") or "").strip() or sounds.get(name)
    return [Clip(name, file.parent / name, tuple(captions[name]), sounds[name]) for name in captions]


def _soundscapes(folder: Path) -> Iterable[Clip]:
    table = REPOSITORY / "data" / "soundscapes.csv"
    for row in _rows(table, ("file", "sounds", *(f"caption_{number}" for number in range(1, 6)))):
        references = tuple(row[f"caption_{number}"] for number in range(1, 6))
        sound = None if "+" in row["sounds"] else row["sounds"]
        yield Clip(row["file"], table.with_suffix("") / row["file"], references, sound)


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
    captions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in _rows(folder / "audiocaps" / "test.csv", ("youtube_id", "start_time", "caption")):
        captions[row["youtube_id"], row["start_time"]].append(row["caption"])
    for (video, start), references in captions.items():
        stems = (video, f"Y{video}", f"{video}_{start}", f"{video}_{1000 * int(float(start))}")
        path = next((audio[stem] for stem in stems if stem in audio), folder / "audiocaps" / "audio" / f"{video}.wav")
        yield Clip(video, path, tuple(references))


def _clotho(folder: Path) -> Iterable[Clip]:
    """The evaluation split of version 2.1, as its archive unpacks."""
    columns = [f"caption_{number}" for number in range(1, 6)]
    for row in _rows(folder / "clotho" / "clotho_captions_evaluation.csv", ("file_name", *columns)):
        path = folder / "clotho" / "evaluation" / row["file_name"]
        yield Clip(row["file_name"], path, tuple(row[column] for column in columns))


DATASETS: dict[str, Callable[[Path], Iterable[Clip]]] = {
    "soundscapes": _soundscapes,
    "esc50": _of_classes("esc10", "sounds/esc50"),
    "kitchen20": _of_classes("sounds/kitchen20"),
    "audiocaps": _audiocaps,
    "clotho": _clotho,
}
