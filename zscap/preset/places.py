"""Where weights lie: in the package, on the hub, on another server, or in a folder that a notebook fills."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache

from ..errors import MissingWeights
from ..files import PACKAGE


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A file that ships with zscap, in a folder below the package."""

    folder: str
    file: str
    sha256: str

    @property
    def path(self) -> Path:
        return PACKAGE / self.folder

    def fault(self, preset: str) -> str | None:
        """Why it cannot be loaded, and how to get it; None where it is there and whole."""
        file = self.path / self.file
        if not file.is_file():
            return f"{file}: absent; install zscap again"
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != self.sha256:
                return f"a whole {file}: its sha256 is not the published one; install zscap again"
        return None


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A repository of the Hugging Face hub at a pinned commit, read from the local cache."""

    path: str
    revision: str
    file: str  # the weights; other files of the network are a few megabytes
    gigabytes: float
    license: str

    @property
    def told(self) -> str:
        return f"{self.path} ({self.gigabytes} GB, {self.license})"

    def fault(self, preset: str) -> str | None:
        if isinstance(try_to_load_from_cache(self.path, self.file, revision=self.revision), str):
            return None
        return f"{self.told}: run `zscap fetch {preset}`"

    def fetch(self) -> None:
        snapshot_download(self.path, revision=self.revision, allow_patterns=["*.json", "*.txt", self.file])


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """Files of other servers, in a folder below the working directory."""

    folder: str
    urls: dict[str, str]  # by file name
    gigabytes: float
    license: str

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def told(self) -> str:
        return f"{', '.join(self.urls)} in {self.folder} ({self.gigabytes} GB, {self.license})"

    def fault(self, preset: str) -> str | None:
        if all((self.path / name).is_file() for name in self.urls):
            return None
        return f"{self.told}: run `zscap fetch {preset}`"

    def fetch(self) -> None:
        import torch  # late: it takes a second, and only a download needs it

        self.path.mkdir(parents=True, exist_ok=True)
        for name, url in self.urls.items():
            if not (self.path / name).is_file():
                torch.hub.download_url_to_file(url, str(self.path / name))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A folder below the working directory that one of the notebooks fills."""

    folder: str
    file: str
    command: str

    @property
    def path(self) -> Path:
        return Path(self.folder)

    def fault(self, preset: str) -> str | None:
        if (self.path / self.file).is_file():
            return None
        return f"weights in {self.folder}, which you train: run `{self.command}`"


Weights = Packaged | Hub | Downloaded | Trained
PLACES: dict[str, type[Weights]] = {"package": Packaged, "hub": Hub, "download": Downloaded, "notebook": Trained}


@dataclass(frozen=True)
class Part:
    """A network of a preset and where its weights lie."""

    network: str  # a key of networks.NETWORKS
    weights: Weights
    dtype: str  # of a language model


def fetch(weights: Weights) -> None:
    """Download them.

    Raises:
        MissingWeights: a server cannot be reached.
    """
    try:
        weights.fetch()
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingWeights(f"{weights.told}: cannot be downloaded ({reason}); check the network") from None
