"""What made a file of results, kept beside it."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from zscap.files.checks import checksum_of
from zscap.files.packed import writing
from zscap.folders import ASSETS, REPOSITORY, data_folder

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "pandas", "aac-metrics")
WEIGHTS = {".safetensors", ".pt", ".pth", ".bin", ".gguf"}


def installed_version(package: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def sidecar(result: str | Path) -> Path:
    """Where a result's record lies: `embedded.json` beside `embedded.csv`."""
    return Path(result).with_suffix(".json")


def record(result: str | Path, command: str, parameters: Mapping[str, object], networks: Iterable[Path] = ()) -> Path:
    """Write down what made a result.

    Args:
        result: the file, e.g. a table.
        command: what was called, as one would type it in the clone.
        parameters: all that the run was given, defaults too.
        networks: files of weights, or folders of them, besides those that ship with zscap.

    Returns:
        The record: `command`, `parameters`, `date` (UTC), `commit` (git's, "+" where files had changed since),
        `machine`, `versions` of packages, and `weights`, the sha256 of each file.

    Raises:
        UnwritableOutput: it can't be written.
    """
    files = [file for place in (ASSETS, ASSETS / "language_model", *networks) for file in _weights(Path(place))]
    made = {
        "command": _portable(command),
        "parameters": {name: _portable(value) for name, value in parameters.items()},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: installed_version(name) for name in PACKAGES},
        "weights": {_relative(file): checksum_of(file) for file in files},
    }
    with writing(sidecar(result)):
        sidecar(result).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return sidecar(result)


def _weights(place: Path) -> list[Path]:
    return sorted(file for file in ([place] if place.is_file() else place.glob("*")) if file.suffix in WEIGHTS)


def _portable(value: object) -> object:
    """Paths of this machine in a text, as they are written on any."""
    if not isinstance(value, str):
        return value
    return value.replace(f"{REPOSITORY}/", "").replace(str(data_folder()), "$ZSCAP_DATA")


def _relative(file: Path) -> str:
    file = file.resolve()
    return str(file.relative_to(REPOSITORY)) if file.is_relative_to(REPOSITORY) else file.name


def _commit() -> str | None:
    """The clone's commit; None where there is none: a repository may enclose the environment of a wheel."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", REPOSITORY, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != REPOSITORY:
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "zscap", "studies") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
