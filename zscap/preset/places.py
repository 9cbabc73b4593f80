"""Where weights lie: in the package, on the hub, on another server, or in a folder that the user fills."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import MissingWeights
from ..files import PACKAGE, cache_folder, download, sha256_of


@dataclass(frozen=True, kw_only=True)
class Weights:
    """All files of a network.

    Attributes:
        files: their names; in a dict, with what each is checked by.
        revision: a commit, where a place has such.
        downloadable: whether `fetch` can bring them.
    """

    files: dict | list[str]
    revision: str | None = None
    downloadable = False

    @property
    def path(self) -> Path | str:
        """What a network is loaded from."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """What they are, how large, and under which licence."""
        return str(self.path)

    def problem(self, preset: str) -> str | None:
        """Why they cannot be loaded, and how to get them for a preset; None where all are there and whole."""
        raise NotImplementedError

    def fetch(self) -> None:
        """Download what is not there.

        Raises:
            MissingWeights: a server cannot be reached, or sends something else.
        """


@dataclass(frozen=True, kw_only=True)
class Packaged(Weights):
    """Files that ship with zscap, with their sha256, in a folder below the package."""

    folder: str

    @property
    def path(self) -> Path:
        return PACKAGE / self.folder

    def problem(self, preset: str) -> str | None:
        for name, sha256 in self.files.items():
            file = self.path / name
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
class Hub(Weights):
    """Files of a repository of the Hugging Face hub at a pinned commit, read from the local cache."""

    repository: str
    gigabytes: float
    license: str
    downloadable = True

    @property
    def path(self) -> str:
        return self.repository

    @property
    def description(self) -> str:
        return f"{self.repository} ({self.gigabytes} GB, {self.license})"

    def problem(self, preset: str) -> str | None:
        from huggingface_hub import try_to_load_from_cache  # late: it takes a third of a second

        found = (try_to_load_from_cache(self.repository, name, revision=self.revision) for name in self.files)
        if all(isinstance(file, str) for file in found):
            return None
        return f"{self.description}: run `zscap fetch {preset}`"

    def fetch(self) -> None:
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.txt", *self.files]
        try:
            snapshot_download(self.repository, revision=self.revision, allow_patterns=patterns)
        except OSError as error:
            raise _undownloaded(self, error) from None


@dataclass(frozen=True, kw_only=True)
class Downloaded(Weights):
    """Files of other servers, with url, sha256 and bytes, in a folder of the cache."""

    folder: str
    gigabytes: float
    license: str
    downloadable = True

    @property
    def path(self) -> Path:
        return cache_folder() / self.folder

    @property
    def description(self) -> str:
        return f"{', '.join(self.files)} in {self.path} ({self.gigabytes} GB, {self.license})"

    def problem(self, preset: str) -> str | None:
        for name, published in self.files.items():
            file = self.path / name
            # Their sha256, which would take many seconds, was checked when they came.
            if not file.is_file() or file.stat().st_size != published["bytes"]:
                return f"{self.description}: run `zscap fetch {preset}`"
        return None

    def fetch(self) -> None:
        for name, published in self.files.items():
            try:
                download(published["url"], self.path / name, published["sha256"])
            except (OSError, ValueError) as error:
                raise _undownloaded(self, error) from None


@dataclass(frozen=True, kw_only=True)
class Folder(Weights):
    """Files that the user has or makes, in a folder: absolute, or below the working directory."""

    folder: str
    command: str

    @property
    def path(self) -> Path:
        return Path(self.folder)

    def problem(self, preset: str) -> str | None:
        missing = [name for name in self.files if not (self.path / name).is_file()]
        return f"{missing[0]} in {self.folder}, which you make: run `{self.command}`" if missing else None


PLACES: dict[str, type[Weights]] = {"package": Packaged, "hub": Hub, "download": Downloaded, "folder": Folder}


@dataclass(frozen=True)
class Part:
    """A network of a preset, where its weights lie, and the precision that a language model runs in."""

    network: str  # a key of networks.NETWORKS
    weights: Weights
    dtype: str


def _undownloaded(weights: Weights, error: Exception) -> MissingWeights:
    reason = " ".join(str(error).split())[:200]
    return MissingWeights(f"{weights.description}: cannot be downloaded ({reason}); check the network")
