"""The one reader and writer of zscap's own weights, and what every reader of weights checks."""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from warnings import catch_warnings, simplefilter

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import MissingWeights, UnwritableOutput, ZscapError

SCALE = "_scale"  # ends the name of a weight's scales
MAX_LAYERS = 2**8  # thousands take Python minutes to build
MAX_SIZE, MAX_LISTED = 2**24, 10**4  # more than any number of tokens, and of what a list of sizes holds
SIDES = "height width shortest_edge longest_edge size crop_size feature_size n_fft fft_window_size bands"
MAX_SIZES = {**dict.fromkeys(SIDES.split(), 2**12), "sampling_rate": 2**18}  # of what multiplies
MAX_SIZES |= dict.fromkeys(("spec_size", "max_length_s", "chunk_length"), 2**10)
MIN_SIZES = {"hop_length": 2**5, "sampling_rate": 1}  # of what divides


def out_of_memory(error: BaseException) -> bool:
    """Whether a device has too little memory; Apple's and the CPU's say so in words alone."""
    said = re.search("out of memory|DefaultCPUAllocator", str(error))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or said is not None


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
        if out_of_memory(error):  # the file may be whole
            raise
        reason = getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise MissingWeights(f"{path}: no whole {what} ({reason}); {fix}") from error


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns whatever keeps a file from being written into UnwritableOutput, which names it."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of Python, torch and safetensors
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UnwritableOutput(f"{path} can't be written ({reason}): name another") from error


def check_sizes(settings: dict, file: str) -> None:
    """Refuses sizes far beyond any network's, before it is built: that would take for ever, or all memory.

    Raises:
        ValueError: names the setting of `file`.
    """
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        for item in values:
            if isinstance(item, dict):
                check_sizes(item, file)
        least, most = MIN_SIZES.get(name), MAX_SIZES.get(name, MAX_LISTED if isinstance(value, list) else MAX_SIZE)
        if least is not None and not value >= least:  # nor is it no number
            raise ValueError(f"{file} has {name}={value}; must be at least {least}")
        if re.search("token|max_length$|theta", name):  # no sizes
            continue
        if re.search("layers?$|depths", name):
            most = MAX_LAYERS
        sizes = [item for item in values if isinstance(item, int)]
        if len(sizes) > MAX_LAYERS or max(sizes, default=0) > most:
            raise ValueError(f"{file} has {name}={value}; must be at most {most}")


def check_fits(network: nn.Module, size: int) -> None:
    """Refuses a network, built on torch's meta device, with more weights than files of `size` bytes can hold.

    Raises:
        ValueError: the network is too large.
    """
    if sum(weight.numel() for weight in network.parameters()) > size:
        raise ValueError("its settings ask for more weights than the file holds")


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

    A weight in whole numbers has its scales, one for each row, beside it.

    Args:
        build: makes the network from these arguments, by name, on torch's meta device; what the file does not hold, it
            takes from numpy.
        recipe: what makes such a file, for the message.

    Raises:
        MissingWeights: the file is not there, cut off, or holds something else.
    """
    with reading("weights file", path, f"make it with {recipe}"), safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        check_sizes(config, "it")
        with torch.device("meta"):
            network = build(**config)
        check_fits(network, Path(path).stat().st_size)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        check_finite(weights)
        if kinds := {weight.dtype for weight in weights.values()} - {torch.float16, torch.float32, torch.int8}:
            raise ValueError(f"it has weights of {kinds}; must be float16, float32 or int8")
        network.load_state_dict(dequantised(weights), assign=True)
    return network, config


def dequantised(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float32; those in whole numbers by their scales, which are taken out.

    Raises:
        ValueError: whole numbers without a scale.
    """
    scales = {name + SCALE for name in weights}
    whole = {name: weight.float() for name, weight in weights.items() if name not in scales}
    for name, weight in whole.items():
        if name + SCALE in weights:
            weight *= weights[name + SCALE].view(-1, *[1] * (weight.ndim - 1))
        elif weights[name].dtype is torch.int8:
            raise ValueError(f"{name} has whole numbers without a scale")
    return whole


def write_packed(path: str | Path, network: nn.Module, config: dict, exact: Mapping[str, Tensor] | None = None) -> None:
    """Save a network as half precision in one file, with the arguments that build it.

    Args:
        exact: weights that are saved as they are, float32, or int8 with their scales under the name with `SCALE`.
    """
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()} | dict(exact or {})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if Path(path).exists() and not Path(path).is_file():  # safetensors would put a file in its place
        raise OSError(errno.EINVAL, "is no regular file")
    save_file(weights, path, {"config": json.dumps(config)})
    Path(path).chmod(0o644)  # safetensors writes for the owner alone
