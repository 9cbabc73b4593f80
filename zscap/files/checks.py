"""Whether a file is whole; what needs no torch answers at once."""

import hashlib
import json
import zipfile
from pathlib import Path

MAX_JSON = 2**26  # bytes; in memory it may become twenty times as much


def checksum_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file is what its checksum says: sha256, or in 40 digits git's sha1 of a blob."""
    if len(checksum) == 64:
        return checksum_of(path) == checksum
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == checksum


def is_cut_off(path: Path) -> bool:
    """Whether a file of weights or settings ends before it says that it does; weights are not read for that."""
    try:
        if path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "numpy"):
                pass
        elif path.suffix in (".bin", ".pth"):
            with path.open("rb") as file:
                pickled = file.read(1) == b"\x80"  # as torch did before 1.6, with no word about the length
            return not pickled and not zipfile.is_zipfile(path)
    except Exception:  # each library raises its own
        return True
    return False


def read_json(path: Path) -> object:
    """What a json file holds.

    Raises:
        OSError, ValueError, RecursionError: it is not there, no json, or larger and deeper than settings are.
    """
    if path.stat().st_size > MAX_JSON:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; must be at most {MAX_JSON}")
    return json.loads(path.read_text(encoding="utf-8"))
