"""Files: where they lie, their download, and the one reader and writer of zscap's own weights."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from .errors import MissingWeights, ZscapError

if TYPE_CHECKING:
    from torch import nn

PACKAGE = Path(__file__).parent
ASSETS = PACKAGE / "assets"
REPOSITORY = PACKAGE.resolve().parent  # a clone of the project, if the package was not installed elsewhere
MAX_TENSORS = 5_000  # of a network; the largest of the presets' have about a thousand


def cache_folder() -> Path:
    """Folder of what zscap downloads: $ZSCAP_CACHE, else zscap in the user's cache."""
    return Path(os.environ.get("ZSCAP_CACHE") or platformdirs.user_cache_dir("zscap"))


def data_folder() -> Path:
    """Folder of the data that zscap doesn't ship: $ZSCAP_DATA, else the cache folder."""
    return Path(os.environ.get("ZSCAP_DATA") or cache_folder())


def sha256_of(path: str | Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(url: str, path: str | Path, sha256: str | None) -> None:
    """Download a file, unless it is there and whole. It moves to its place when it is complete.

    Args:
        url: https.
        path: where the file belongs.
        sha256: its checksum; None where none is published.

    Raises:
        OSError: the server cannot be reached.
        ValueError: the file is not the published one.
    """
    import pooch  # late: only a download needs it

    pooch.get_logger().setLevel("WARNING")
    pooch.retrieve(
        url,
        known_hash=None if sha256 is None else f"sha256:{sha256}",
        fname=Path(path).name,
        path=Path(path).parent,
        progressbar=sys.stderr.isatty(),
    )


@contextmanager
def reading(what: str, path: str | Path, fix: str) -> Iterator[None]:
    """Turns whatever a damaged file makes a library raise into MissingWeights, which names the file and the fix."""
    try:
        yield
    except ZscapError:
        raise
    except Exception as error:  # each library raises its own; tokenizers raises a bare Exception
        reason = getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise MissingWeights(f"{path}: no whole {what} ({reason}); {fix}") from error


@contextmanager
def bounded(size: int, tensors: int = MAX_TENSORS) -> Iterator[None]:
    """Refuses a network that asks for more weights than its files of `size` bytes can hold, before it is built.

    A network that is made on the meta device inside takes no memory, and one of 10**9 layers is given up in time.

    Args:
        tensors: how many weights, biases, ... there may be.

    Raises:
        ValueError: the network is too large.
    """
    from torch.nn.modules.module import register_module_parameter_registration_hook

    left = {"weights": size, "tensors": tensors}

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        if parameter.is_meta:
            left["weights"] -= parameter.numel()
            left["tensors"] -= 1
        if min(left.values()) < 0:
            raise ValueError("its settings ask for more weights than the file holds")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def read_packed(path: str | Path, build: Callable[..., nn.Module], recipe: str) -> tuple[nn.Module, dict]:
    """A network that `write_packed` saved, in float32, and the arguments that it was built with.

    Args:
        build: makes the network from these arguments, by name, on torch's meta device: what the file does not hold, it
            takes from numpy, and only after it has made its parameters.
        recipe: what makes such a file, for the message.

    Raises:
        MissingWeights: the file is not there, cut off, or holds something else.
    """
    import torch
    from safetensors import safe_open

    with reading("weights file", path, f"make it with {recipe}"), safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        with torch.device("meta"), bounded(Path(path).stat().st_size, len(file.keys())):
            network = build(**config)
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        network.load_state_dict(weights, assign=True)
    return network, config


def write_packed(path: str | Path, network: nn.Module, config: dict) -> None:
    """Save a network as half precision in one file, with the arguments that build it."""
    from safetensors.torch import save_file

    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, {"config": json.dumps(config)})
    Path(path).chmod(0o644)  # safetensors writes for the owner alone
