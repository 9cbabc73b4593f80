"""Users' files as they are when they are damaged, and values that no option should have: a generator for each kind.

A family is a function of the random generator, a scratch folder and the `World`. It hands its input to zscap as a user
would and looks at what comes out. It lets ZscapError through, which is a refusal; whatever else it raises is a fault.
"""

import copy
import csv
import json
import math
import os
import shutil
from io import BytesIO, StringIO
from itertools import pairwise, product
from pathlib import Path
from random import Random

import av
import numpy as np
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import GPT2ForSequenceClassification

import zscap
from studies.audibility import load_audibility
from zscap.caption import Caption
from zscap.errors import UnreadableSource, ZscapError
from zscap.evaluation.datasets import read_dataset
from zscap.files.output import Output
from zscap.files.pretrained import load_language_model
from zscap.folders import ASSETS
from zscap.keywords import read_keywords

SOUNDS = {  # suffix -> codec
    **{"wav": "pcm_s16le", "24.wav": "pcm_s24le", "float.wav": "pcm_f32le", "adpcm.wav": "adpcm_ima_wav"},
    **{"aiff": "pcm_s16be", "au": "pcm_mulaw", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus"},
    **{"m4a": "aac", "webm": "libopus", "wma": "wmav2", "mp4": "aac"},
}
FILMS = {"mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "avi": "mpeg4", "webm": "libvpx"}
# What a file's field or an option may hold that nobody thought of.
ODD = [
    *(None, True, 0, 1, -1, 2, 7, 100, 10**9, -(10**9), 2**63, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e18, 1e300),
    *(math.inf, -math.inf, math.nan, "", " ", "x", "nan", "1", "é\udcff\0\n", "x" * 10_000, "../../x", "%s%d{0}"),
    *([], {}, [[]], [None], [1, 2, 3], ["a", ""], {"a": 1}, [10**9] * 3, "https://127.0.0.1:1/x"),
]
# What a file may be overwritten with; nothing stands for random bytes.
JUNK = [b"", b"", b"", bytes(8), bytes(1000), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0"]
JUNK += [b"\xff\xfe", b"[" * 99_999, b"{" * 900, b'"', b'"' * 900, b"\n" * 99, b"x" * 200_000, b"my notes\n"]


def check(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def check_caption(made: Caption) -> None:
    """A caption is whole, and all of its numbers are numbers."""
    if made.error is not None:
        raise made.error
    numbers = [each for each in (made.matching, made.classifier, made.log_likelihood) if each is not None]
    check(all(map(math.isfinite, numbers)) and made.tokens and isinstance(made.text, str), f"no whole caption: {made}")


def damaged(random: Random, content: bytes) -> bytes:
    """A file after one to three mishaps, in its first bytes or anywhere."""
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        place = random.randrange(min(len(made), random.choice((100, len(made)))) + 1)
        junk = random.choice(JUNK) or random.randbytes(random.choice((1, 2, 4, 8, 64, 1000)))
        match random.randrange(4):
            case 0:
                del made[place:]
            case 1:
                made[place : place + len(junk)] = junk
            case 2:
                made[place:place] = junk
            case 3:
                for at in random.choices(range(len(made)), k=random.randrange(1, 40)) if made else ():
                    made[at] ^= 1 << random.randrange(8)
    return bytes(made)


def odd_json(random: Random, value: object) -> object:
    """A copy of a JSON value with one or two of its parts replaced or left out."""
    made = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 2))):
        at = inner = made
        while isinstance(inner, dict | list) and inner and (at is inner or random.random() < 0.8):
            at, key = inner, random.choice([*inner] if isinstance(inner, dict) else range(len(inner)))
            inner = at[key]
        if at is not inner and random.random() < 0.2:
            del at[key]
        elif at is not inner:
            at[key] = copy.deepcopy(random.choice(ODD))
    return made


class World:
    """Whole files that inputs are made of, and networks that they go to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.sounds = {f"sound.{suffix}": _media(folder / f"a.{suffix}", codec) for suffix, codec in SOUNDS.items()}
        self.sights = _pictures() | {f"film.{end}": _media(folder / f"a.{end}", codec) for end, codec in FILMS.items()}
        self.checkpoints = _checkpoints(folder)
        self.ear, self.eye = zscap.load("embedded").matcher, zscap.load("embedded-scenes").matcher
        language_model = load_language_model(self.checkpoints["gpt2"])
        self.guides = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
        self.captioner = zscap.Captioner(language_model, **self.guides)


def _media(path: Path, codec: str) -> bytes:
    """Half a second of noise, or with a codec of films twelve frames that grow brighter."""
    with av.open(str(path), "w") as container:
        if codec in FILMS.values():
            stream = container.add_stream(codec, rate=10, width=64, height=48, pix_fmt="yuv420p")
            pictures = (np.full((48, 64, 3), 20 * place, np.uint8) for place in range(12))
            parts = [av.VideoFrame.from_ndarray(picture, "rgb24") for picture in pictures]
        else:
            stream = container.add_stream(codec, rate=48_000, layout="mono", bit_rate=128_000)
            noise = np.random.default_rng(0).standard_normal((1, 24_000)).astype(np.float32) * 0.1
            parts = [av.AudioFrame.from_ndarray(noise, "fltp", "mono")]
            parts[0].sample_rate = 48_000
        for part in (*parts, None):
            container.mux(stream.encode(part))
    return path.read_bytes()


def _pictures() -> dict[str, bytes]:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8))
    made = {}
    for suffix, mode in product(("png", "jpeg", "webp", "gif", "bmp", "tiff"), ("RGB", "L")):
        packed = {"compression": "tiff_deflate"} if suffix == "tiff" else {}
        grey.convert(mode).save(content := BytesIO(), suffix, **packed)
        made[f"{mode}.{suffix}"] = content.getvalue()
    return made


def _checkpoints(folder: Path) -> dict[str, Path]:
    """A small folder of each way in which weights are kept."""
    folders = {kind: folder / kind for kind in ("gpt2", "opt", "classifier", "packed")}
    tiny.language_model(folders["gpt2"])
    opt = tiny.language_model(folders["opt"], "opt").model
    torch.save(opt.state_dict(), folders["opt"] / "pytorch_model.bin")
    (folders["opt"] / "model.safetensors").unlink()
    tiny.language_model(folders["classifier"])
    sizes = {"num_labels": 2, "pad_token_id": 0}
    GPT2ForSequenceClassification.from_pretrained(folders["classifier"], **sizes).save_pretrained(folders["classifier"])
    folders["packed"].mkdir()
    shutil.copy(ASSETS / "classifier.safetensors", folders["packed"])
    return folders


# Families


def sounds(random: Random, folder: Path, world: World) -> None:
    _give(random, folder, world.sounds, world.ear, ("a.raw", "a.mp4", "12:30.wav", "a%03d.mp3"))


def sights(random: Random, folder: Path, world: World) -> None:
    _give(random, folder, world.sights, world.eye, ("a.png", "12:30.mp4", "a.mov", "list.avi"))


def _give(random: Random, folder: Path, files: dict[str, bytes], matcher, names: tuple[str, ...]) -> None:
    name = random.choice(list(files))
    path = folder / (name if random.random() < 0.8 else random.choice(names))
    path.write_bytes(damaged(random, files[name]))
    check(matcher.encode_source([str(path)]).isfinite().all(), "an embedding that is no numbers")


def weights(random: Random, folder: Path, world: World) -> None:
    """A checkpoint, damaged in one of its files, is read and used."""
    kind = random.choice(list(world.checkpoints))
    own = shutil.copytree(world.checkpoints[kind], folder / kind)
    file = random.choice(sorted(path for path in own.rglob("*") if path.is_file()))
    content = file.read_bytes()
    if file.suffix == ".json" and random.random() < 0.8:
        file.write_text(json.dumps(odd_json(random, json.loads(content))))
    elif file.suffix == ".safetensors" and random.random() < 0.6:
        _odd_tensors(random, file)
    else:
        file.write_bytes(damaged(random, content))
    if kind in ("gpt2", "opt"):
        captioner = zscap.Captioner(load_language_model(own), **world.guides)
        check_caption(captioner("a", max_new_tokens=2, num_candidates=9))
    else:
        packed = kind == "packed" and zscap.EmbeddingClassifier.load(own / "classifier.safetensors", world.ear)
        classifier = packed or zscap.TextClassifier.load(own, label="LABEL_1")
        check(classifier.probability(["a", "a dog barks"]).isfinite().all(), "a probability that is no number")


def _odd_tensors(random: Random, file: Path) -> None:
    state, metadata = load_file(file), {"format": "pt", "config": '{"hidden": 64, "layers": 2}'}
    name = random.choice(list(state))
    odd = [torch.zeros(shape) for shape in ((), (1,), (0, 3), (7, 5), (2, 2, 2))]
    odd += [state[name].to(dtype) for dtype in (torch.int64, torch.bool, torch.float64, torch.bfloat16)]
    odd += [torch.full_like(state[name], number) for number in (math.nan, math.inf, 6e4)]
    others = {key: tensor for key, tensor in state.items() if key != name}
    foreign = {random.choice(("x", "h.99.ln_1.weight", name + "0")): torch.zeros(3)}
    sizes = json.dumps(odd_json(random, json.loads(metadata["config"])))
    if random.random() < 0.25:
        metadata["config"] = random.choice((sizes, "[" * 99_999, "", "3", "null"))
    else:
        state = random.choice((others, others | {name: random.choice(odd)}, state | foreign))
    save_file(state, file, metadata)


def presets(random: Random, folder: Path, world: World) -> None:
    part = {"network": "causal", "place": "folder", "folder": str(world.checkpoints["gpt2"])}
    part |= {"files": ["config.json"], "command": ""}
    table = {"takes": ["audio"], "description": "", "license": "", "guidance": "steering", "language_model": part}
    table["options"] = {"prompt": "A dog", "max_new_tokens": 2}
    table = odd_json(random, table) if random.random() < 0.7 else table
    content = "\n".join(["[x]", *(f"{name} = {_toml(value)}" for name, value in table.items())]).encode()
    file = folder / "own.toml"
    file.write_bytes(damaged(random, content) if random.random() < 0.3 else content)
    os.environ["ZSCAP_PRESETS"] = str(file)
    try:
        check("embedded" in zscap.presets().index, "the package's own presets are lost")
        zscap.load("x")
    finally:
        del os.environ["ZSCAP_PRESETS"]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def options(random: Random, folder: Path, world: World) -> None:
    kind = random.choice((zscap.SteeringOptions, zscap.ProximalOptions, zscap.MagicOptions))
    changes, usual = {"max_new_tokens": random.choice((1, 3, 8)), "num_candidates": 20}, vars(kind())
    numbers = [0, 1, 0.5, 1e-6, 1e-5, 1e6, 100, 10, 2, 99.9, 1e5, "1e3", ".5", "1_0", "0x1", "inf", "1" * 5000]
    for name in random.sample(list(usual), random.choice((1, 1, 2, 3, 6))):
        fitting = numbers if isinstance(usual[name], int | float) else [usual[name]]
        value = random.choice(random.choice((ODD, fitting, fitting, fitting, numbers)))
        typed = isinstance(value, str) and random.random() < 0.7  # on the command line
        changes[name] = kind.parse(name, value) if typed else value
    made = kind(**changes)
    # What many of them together cost is a user's own choice.
    cost = made.num_drafts * made.beam_size * max(1, getattr(made, "num_iterations", 1))
    made = made.override(max_new_tokens=min(made.max_new_tokens, max(1, 300 // cost)))
    if cost <= 2000:
        captioner = zscap.Captioner(world.captioner.language_model, **world.guides, options=made, batch_size=3)
        for caption in captioner(["one", "two"]):
            check_caption(caption)


def _keywords(file: Path, world: World) -> None:
    given = {"keywords": read_keywords(file), "num_keywords": 1, "max_new_tokens": 1, "num_candidates": 5}
    check_caption(world.captioner("a", **given))


# A file's name, its rows, and how a user reads it.
TABLES = {
    "labelled.csv": (
        [["text", "label"], *([f"a dog barks {n} times", n % 2] for n in range(20))],
        lambda file, world: check(load_audibility(file)["audible"].isin([True, False]).all(), "a row without a label"),
    ),
    "references.csv": (
        [["file", "caption"], *([f"{n}.wav", f"a dog barks {n} times"] for n in range(5))],
        lambda file, world: read_dataset(str(file)),
    ),
    "keywords.txt": ([["dog"], ["rain on a roof"], ["é"], ["NA"], [""], ['"'], [" x "]], _keywords),
    "keywords.csv": ([["index", "mid", "display_name"], [0, "/m/0", "dog"], [1, "/m/1", "NA"]], _keywords),
}


def tables(random: Random, folder: Path, world: World) -> None:
    name = random.choice(list(TABLES))
    rows, read = TABLES[name]
    rows = odd_json(random, rows) if random.random() < 0.6 else rows
    stream = StringIO()
    csv.writer(stream).writerows(row if isinstance(row, list) else [row] for row in rows)
    content = stream.getvalue().encode(errors="surrogateescape")
    file = folder / name
    (folder / "0.wav").touch()
    file.write_bytes(damaged(random, content) if random.random() < 0.5 else content)
    read(file, world)


def captions(random: Random, folder: Path, world: World) -> None:
    """What lies where captions are to go: if it is refused it stays; else every whole row stays."""
    made = [Caption(f"{n}.wav", "audio of", 'a "dog",\nbarks', " a dog", (1, n), 0.5, None, -1.0) for n in range(3)]
    made.insert(1, Caption("bad.wav", error=UnreadableSource("bad.wav: no such file")))
    file, sizes = folder / random.choice(("a.csv", "a.jsonl")), []

    def write() -> None:
        names = [caption.source for caption in made]
        with Output(file, {"preset": "p", "options": {"seed": 1}, "keywords": None}, names) as output:
            left = output.remaining(names)
            for caption in made:
                if caption.source in left:
                    output.write(caption)
                    sizes.append(file.stat().st_size)

    write()
    whole = file.read_bytes()
    rows = [whole[start:end] for start, end in pairwise(sizes)]
    before = random.choice((damaged(random, whole), whole[: random.choice(range(999))]))
    file.write_bytes(before)
    try:
        write()
    except ZscapError:
        check(file.read_bytes() == before, "a file that was refused was changed")
        raise
    after = file.read_bytes()
    check(os.listdir(folder) == [file.name], "files are left behind")
    check(after.endswith(b"\n"), "the last row has no end")
    check(all(row in after for row in rows if row in before and b"no such file" not in row), "whole rows are lost")


# How many of a hundred inputs are of each family.
SHARES = {sounds: 24, sights: 24, weights: 16, presets: 6, options: 15, tables: 10, captions: 5}
