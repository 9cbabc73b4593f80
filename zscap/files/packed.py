"""Files: where they lie, their download, and the one reader and writer of zscap's own weights."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from ..errors import MissingWeights, UnwritableOutput, ZscapError

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_TENSORS = 5_000  # of a network; the largest of the presets' have about a thousand
MAX_JSON = 2**26  # bytes; in memory it may become twenty times as much


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file is what its checksum says: sha256, or in 40 digits git's sha1 of a blob."""
    from tqdm import tqdm  # late: what needs no checksum answers sooner

    size = path.stat().st_size
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    digest = hashlib.sha256() if len(checksum) == 64 else git
    bar = tqdm(total=size, desc=path.name, unit="B", unit_scale=True, leave=False, disable=None)
    with path.open("rb") as file, bar:
        while chunk := file.read(2**20):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest() == checksum


def checksum_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        with catch_warnings():
            simplefilter("ignore")  # what is wrong is said once, as an error
            yield
    except (ZscapError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # each library raises its own; where tokenizers panics, it is no Exception
        reason = getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise MissingWeights(f"{path}: no whole {what} ({reason}); {fix}") from error


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns whatever keeps a file from being written into UnwritableOutput, which names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of Python, torch and safetensors
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UnwritableOutput(f"{path} can't be written ({reason}): name another") from error


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


def check_finite(weights: dict[str, Tensor]) -> None:
    """Refuses a NaN or an infinity in a weight; no copy of one is made.

    Raises:
        ValueError: names the weight.
    """
    for name, weight in weights.items():
        # Of numbers with a NaN among them it is the least and the greatest.
        if weight.is_floating_point() and weight.numel() and not all(map(math.isfinite, weight.aminmax())):
            raise ValueError(f"{name} holds a number that is not finite")


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
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        check_finite(weights)
        if kinds := {weight.dtype for weight in weights.values()} - {torch.float16}:
            raise ValueError(f"it has weights of {kinds}; must be float16")
        network.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
    return network, config


def write_packed(path: str | Path, network: nn.Module, config: dict) -> None:
    """Save a network as half precision in one file, with the arguments that build it."""
    from safetensors.torch import save_file

    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if Path(path).exists() and not Path(path).is_file():  # safetensors would put a file in its place
        raise OSError(errno.EINVAL, "is no regular file")
    save_file(weights, path, {"config": json.dumps(config)})
    Path(path).chmod(0o644)  # safetensors writes for the owner alone
