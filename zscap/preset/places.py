"""Where weights lie: in the package, on the hub, on another server, or in a folder that the user fills."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from ..errors import MissingWeights
from ..files import PACKAGE, cache_folder, download, sha256_of


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
    def path(self) -> Path | str:
        """What a network is loaded from."""
        return self.root / self.entry

    def problem(self, preset: str) -> str | None:
        """Why they cannot be loaded, and how to get them for a preset; None where all are there and whole."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Packaged(Weights):
    """Files that ship with zscap, with their sha256, in a folder below the package."""

    @property
    def root(self) -> Path:
        return PACKAGE / self.folder

    def problem(self, preset: str) -> str | None:
        for name, sha256 in self.files.items():
            file = self.root / name
            if not file.is_file():
                return f"{file}: absent; install zscap again"
            if _checked_once(file, file.stat().st_size, file.stat().st_mtime_ns) != sha256:
                return f"a whole {file}: its sha256 is not the published one; install zscap again"
        return None


@cache
def _checked_once(file: Path, size: int, changed: int) -> str:
    """The sha256 of a file, which several presets share."""
    return sha256_of(file)


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

    def problem(self, preset: str) -> str | None:
        return None if all(map(self.is_there, self.files)) else f"{self.description}: run `zscap fetch {preset}`"

    def fetch(self) -> None:
        """Download what is not there.

        Raises:
            MissingWeights: a server cannot be reached, or sends something else.
        """
        try:
            self.download()
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise MissingWeights(f"{self.description}: cannot be downloaded ({reason}); check the network") from None


@dataclass(frozen=True, kw_only=True)
class Hub(Remote):
    """Files of a repository of the Hugging Face hub (`folder`) at a pinned commit, read from the local cache."""

    @property
    def path(self) -> str:
        return self.folder

    def is_there(self, name: str) -> bool:
        from huggingface_hub import try_to_load_from_cache  # late: it takes a third of a second

        return isinstance(try_to_load_from_cache(self.folder, name, revision=self.revision), str)

    def download(self) -> None:
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.txt", *self.files]
        snapshot_download(self.folder, revision=self.revision, allow_patterns=patterns)


@dataclass(frozen=True, kw_only=True)
class Downloaded(Remote):
    """Files of other servers, with url, sha256 and bytes, in a folder of the cache."""

    @property
    def root(self) -> Path:
        return cache_folder() / self.folder

    def is_there(self, name: str) -> bool:
        # Its sha256, which would take many seconds, was checked when it came.
        file = self.root / name
        return file.is_file() and file.stat().st_size == self.files[name]["bytes"]

    def download(self) -> None:
        for name, published in self.files.items():
            download(published["url"], self.root / name, published["sha256"])


@dataclass(frozen=True, kw_only=True)
class Folder(Weights):
    """Files that the user has or makes."""

    command: str

    def problem(self, preset: str) -> str | None:
        missing = [name for name in self.files if not (self.root / name).is_file()]
        return f"{missing[0]} in {self.folder}, which you make: run `{self.command}`" if missing else None


PLACES: dict[str, type[Weights]] = {"package": Packaged, "hub": Hub, "download": Downloaded, "folder": Folder}


@dataclass(frozen=True)
class Part:
    """A network of a preset, where its weights lie, the precision of a language model, and other settings of `load`."""

    network: str  # a key of networks.NETWORKS
    weights: Weights
    dtype: str
    settings: dict
