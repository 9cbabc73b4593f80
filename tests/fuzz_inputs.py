"""Damaged and hostile inputs of every kind, each drawn by a generator of its own, and what is done with it.

A family is a function of the generator, a scratch folder and the `World`. It gives the input to zscap as a user would,
checks what comes out, and lets ZscapError through: that is a refusal. Whatever else it raises is a fault.
"""

import copy
import csv
import json
import math
import os
import pickle
import shutil
import socket
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from io import BytesIO, StringIO
from pathlib import Path
from random import Random

import numpy as np
import reference_imagebind
import soundfile
import test_clap
import test_classifier
import test_clip
import test_imagebind
import test_prefix_model
import test_sources
import tiny
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import zscap
from studies.audibility import load_audibility, read_sentences
from studies.pairs import Endpoint, read_pairs
from zscap import cli
from zscap.caption import Caption
from zscap.classifiers.texts import labelled_texts
from zscap.errors import UnreadableSource, ZscapError
from zscap.files.packed import output
from zscap.folders import ASSETS
from zscap.keywords import Keywords, read_keywords
from zscap.matchers import CLAP, CLIP, EmbeddedMatcher, ImageBind
from zscap.matchers.scenes import SceneMatcher
from zscap.options import MagicOptions, ProximalOptions, SteeringOptions
from zscap.roles import finite
from zscap.sources import read_audio, read_video

RATE = 16_000
# What a file's field, an option or an answer may hold that nobody thought of.
ODD = [
    *(None, True, False, 0, 1, -1, 2, 7, 100, 10**9, -(10**9), 2**31, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e-320),
    *(1e18, 1e300, math.inf, -math.inf, math.nan, "", " ", "x", "nan", "1", "é\udcff\0\n", "x" * 10_000, "../../x"),
    *([], {}, [[]], [None], [1, 2, 3], ["a", ""], {"a": 1}, [10**9] * 3, b"x", "https://127.0.0.1:1/x", "%s%d{0}"),
]


def check(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def check_caption(made: Caption) -> None:
    """A caption is whole, and all of its numbers are numbers."""
    if made.error is not None:
        raise made.error
    numbers = [each for each in (made.matching, made.classifier, made.log_likelihood) if each is not None]
    check(all(map(math.isfinite, numbers)) and made.tokens and isinstance(made.text, str), f"no whole caption: {made}")


def damaged(random: Random, content: bytes, others: list[bytes]) -> bytes:
    """A file after one to three mishaps."""
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        place = random.randrange(len(made) + 1) if random.random() < 0.6 else random.randrange(min(len(made), 100) + 1)
        length = random.choice((1, 2, 4, 8, 64, 1000))
        match random.randrange(7):
            case 0:
                del made[place:]
            case 1:
                made[place : place + length] = random.randbytes(length)
            case 2:
                made[place : place + length] = bytes(length)
            case 3:
                made[place : place + 4] = random.choice((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0"))
            case 4:
                made[place:place] = random.randbytes(length)
            case 5:
                made[place:] = random.choice(others)[place:]
            case 6:
                for _ in range(random.randrange(1, 40)):
                    if made:
                        made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    return bytes(made)


def odd_json(random: Random, value: object) -> object:
    """A copy of a JSON value with one or two of its parts replaced, left out, or put into each other."""
    made = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 2))):
        at = made
        while isinstance(at, dict | list) and at:
            key = random.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if isinstance(at[key], dict | list) and at[key] and random.random() < 0.8:
                at = at[key]
                continue
            if random.random() < 0.2:
                del at[key]
            else:
                at[key] = copy.deepcopy(random.choice([odd for odd in ODD if not isinstance(odd, bytes)]))
            break
    return made


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


class Shell:
    """Unpickled, it would write a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


class World:
    """What inputs are made of, and the networks that they go to; its files lie in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.recordings = _recordings(folder)
        self.pictures = _pictures()
        kinds = (("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx"))
        films = [test_sources.film(folder / f"film.{end}", 12, codec) for end, codec in kinds]
        self.films = {film.name: film.read_bytes() for film in films}
        self.checkpoints = _checkpoints(folder)
        self.matcher, self.scenes = EmbeddedMatcher.load(ASSETS), SceneMatcher.load(ASSETS)
        lm = zscap.LanguageModel.load(self.checkpoints["gpt2"])
        self.captioner = zscap.Captioner(lm, matcher=tiny.HashMatcher(), classifier=tiny.HashClassifier())
        self.answers = Answers()

    def load(self, kind: str, folder: Path) -> None:
        """Read a checkpoint, and look at what it gives."""
        if kind in ("gpt2", "opt"):
            lm = zscap.LanguageModel.load(folder)
            check_caption(zscap.Captioner(lm, matcher=tiny.HashMatcher())("a", max_new_tokens=2, num_candidates=9))
            return
        if kind == "prefix":
            lm = zscap.PrefixLanguageModel.load(folder, tiny.HashMatcher())
            check_caption(zscap.Captioner(lm)("a", prompt="A dog", max_new_tokens=2))
            return
        if kind == "scenes":
            classifier = zscap.EmbeddingClassifier.load(folder / "classifier.safetensors", self.matcher)
            finite(classifier.probability(["a"]), kind, "a")
            matcher = SceneMatcher.load(folder, text_folder=ASSETS)
            finite(matcher.encode_source([Image.new("RGB", (9, 9))]), kind, "an image")
        elif kind == "bert":
            finite(zscap.TextClassifier.load(folder, label="LABEL_1").probability(["a", "a dog barks"]), kind, "a")
        elif kind == "imagebind":
            matcher = ImageBind.load(folder / "tiny.pth", **test_imagebind.HEADS)
            finite(matcher.encode_text(["the dog", ""]), kind, "a")
        else:
            matcher = {"clap": CLAP, "clip": CLIP}[kind].load(folder)
            finite(matcher.encode_text(["a dog", ""]), kind, "a")


class Answers:
    """A server that sends one connection whatever bytes it is given, and then hangs up."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}/v1"
        self.answer = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self.server.accept()
            try:
                with connection:
                    connection.settimeout(1)
                    connection.recv(65_536)
                    connection.sendall(self.answer)
            except OSError:
                pass


def _recordings(folder: Path) -> dict[str, bytes]:
    """Half a second of sound in every format, by a name with its suffix."""
    sound = np.random.default_rng(0).standard_normal((RATE // 2, 2)).astype(np.float32) * 0.1
    formats = {
        **{f"{kind.lower()}.wav": {"subtype": kind} for kind in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")},
        **{f"a.{suffix}": {} for suffix in ("flac", "ogg", "aiff", "au", "mp3")},
        "opus.ogg": {"subtype": "OPUS"},
    }
    for name, settings in formats.items():
        soundfile.write(folder / name, sound, RATE, **settings)
    soundfile.write(folder / "gsm.wav", sound[::2, 0], RATE // 2, subtype="GSM610")
    tracks = {"m4a": "aac", "webm": "libopus", "wma": "wmav2", "mp4": "aac", "avi": "mp3"}
    for suffix, codec in tracks.items():
        test_sources.media(folder / f"track.{suffix}", sound.T, 48_000, codec)
    names = [*formats, "gsm.wav", *(f"track.{suffix}" for suffix in tracks)]
    return {name: (folder / name).read_bytes() for name in names}


def _pictures() -> dict[str, bytes]:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8))
    made = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        for mode in ("RGB", "L", "P") if kind in ("PNG", "GIF", "TIFF") else ("RGB", "L"):
            packed = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
            grey.convert(mode).save(content := BytesIO(), kind, **packed)
            made[f"{mode}.{kind.lower()}"] = content.getvalue()
    return made


def _checkpoints(folder: Path) -> dict[str, Path]:
    """A small folder of each kind of checkpoint."""
    folders = {kind: folder / kind for kind in ("gpt2", "opt", "clap", "clip", "imagebind", "prefix", "bert", "scenes")}
    tiny.language_model(folders["gpt2"])
    tiny.language_model(folders["opt"], "opt")
    torch.save(load_file(folders["opt"] / "model.safetensors"), folders["opt"] / "pytorch_model.bin")
    (folders["opt"] / "model.safetensors").unlink()
    test_clap.write(folders["clap"], fused=False)
    folders["imagebind"].mkdir()
    torch.save(reference_imagebind.weights(), folders["imagebind"] / "tiny.pth")
    test_imagebind.write_merges(folders["imagebind"] / "bpe_simple_vocab_16e6.txt.gz")
    test_clip.write(folders["clip"])
    test_prefix_model.saved(folders["prefix"])
    test_classifier.tiny_network("bert of three labels", folders["bert"])
    folders["scenes"].mkdir()
    for name in ("classifier.safetensors", "scenes.safetensors"):
        shutil.copy(ASSETS / name, folders["scenes"])
    return folders


# Families


def recordings(random: Random, folder: Path, world: World) -> None:
    name = random.choice(list(world.recordings))
    content = damaged(random, world.recordings[name], list(world.recordings.values()))
    path = folder / (name if random.random() < 0.8 else random.choice(("a.raw", "a.mp4", "12:30.wav", "a%03d.mp3")))
    path.write_bytes(content)
    embedding = world.matcher.encode_source([str(path)])
    check(bool(embedding.isfinite().all()), "an embedding that is no numbers")


def arrays(random: Random, folder: Path, world: World) -> None:
    draw = np.random.default_rng(random.randrange(2**32))
    shape = random.choice(
        [(RATE,), (RATE,), (RATE, 2), (RATE, 2), (RATE // 2, 1), (0,), (3,), (2, RATE), (RATE, 0), (10, 10, 10), ()]
    )
    samples = draw.standard_normal(shape) * 10.0 ** random.choice((-320, -30, -1, -1, -1, -1, 0, 0, 3, 9, 18, 30, 300))
    with np.errstate(all="ignore"):
        samples = samples.astype(random.choice((np.float32, np.float64, np.float16, np.int16, np.int32, np.uint8)))
    if samples.size and samples.dtype.kind == "f" and random.random() < 0.2:
        samples.flat[random.randrange(samples.size)] = random.choice((0, 1e4, math.nan, math.inf))
    rate = random.choice(random.choice(((RATE, 44_100, 8_000), (RATE,), (RATE,), (100, 1, 10**6), ODD)))
    source = random.choice([(samples, rate)] * 20 + [(samples.tolist(), rate), (samples,), (samples, rate, 1), samples])
    embedding = world.matcher.encode_source([source])
    check(bool(embedding.isfinite().all()), "an embedding that is no numbers")


def pictures(random: Random, folder: Path, world: World) -> None:
    if random.random() < 0.2:
        mode = random.choice(
            ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "I;16", "PA")
        )
        size = random.choice(((1, 1), (0, 0), (1, 99), (1, 100), (50_000, 1), (30, 20), (2000, 1500)))
        source = Image.new(mode, size)
        source = source if random.random() < 0.5 else (source, Image.new("L", (9, 9)))
    else:
        name = random.choice(list(world.pictures))
        source = folder / (name if random.random() < 0.8 else "a.png")
        source.write_bytes(damaged(random, world.pictures[name], list(world.pictures.values())))
    embedding = world.scenes.encode_source([source])
    check(bool(embedding.isfinite().all()), "an embedding that is no numbers")


def films(random: Random, folder: Path, world: World) -> None:
    name = random.choice(list(world.films))
    path = folder / (name if random.random() < 0.8 else random.choice(("12:30.mp4", "a.mov", "list.avi")))
    path.write_bytes(damaged(random, world.films[name], list(world.films.values())))
    if random.random() < 0.2:
        read_audio(path, RATE)
        return
    frames = read_video(path, random.choice((1, 8)))
    check(all(frame.mode == "RGB" for frame in frames) and len(frames) > 0, "no frames")
    check(bool(world.scenes.encode_source([tuple(frames)]).isfinite().all()), "an embedding that is no numbers")


def weights(random: Random, folder: Path, world: World) -> None:
    kind = random.choice(list(world.checkpoints))
    own = folder / kind
    shutil.copytree(world.checkpoints[kind], own)
    file = random.choice(sorted(path for path in own.rglob("*") if path.is_file()))
    content, pawned = file.read_bytes(), folder / "pawned"
    if file.suffix == ".json" and random.random() < 0.8:
        file.write_bytes(as_json(odd_json(random, json.loads(content))))
    elif file.suffix == ".safetensors" and random.random() < 0.6:
        _odd_tensors(random, file)
    elif file.suffix in (".bin", ".pth") and random.random() < 0.3:
        file.write_bytes(pickle.dumps({"a": Shell(pawned)}))
    else:
        file.write_bytes(damaged(random, content, [content[::-1]]))
    try:
        world.load(kind, own)
    finally:
        check(not pawned.exists(), "a checkpoint's code ran")


def _odd_tensors(random: Random, file: Path) -> None:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    state = load_file(file)
    name = random.choice(list(state))
    match random.randrange(7):
        case 0:
            state[name].view(-1)[:1] = random.choice((math.nan, math.inf, 1e30))
        case 1:
            del state[name]
        case 2:
            state[name] = torch.zeros(random.choice(((), (1,), (0, 3), (7, 5), (2, 2, 2))))
        case 3:
            state[name] = state[name].to(random.choice((torch.int64, torch.bool, torch.float64, torch.bfloat16)))
        case 4:
            state[random.choice(("x", "h.99.ln_1.weight", name + "0"))] = torch.zeros(3)
        case 5:
            state = dict.fromkeys(list(state)[:3], torch.full((2,), math.nan))
            state = {each: value.clone() for each, value in state.items()}
        case 6:
            config = json.loads(metadata.get("config", "{}"))
            metadata["config"] = random.choice((json.dumps(odd_json(random, config)), "[" * 99_999, "", "3", "null"))
    save_file(state, file, {key: str(value) for key, value in metadata.items()})


def options(random: Random, folder: Path, world: World) -> None:
    kind = random.choice((SteeringOptions, ProximalOptions, MagicOptions))
    changes, names = {"max_new_tokens": random.choice((1, 3, 8)), "num_candidates": 20}, [f.name for f in fields(kind)]
    numbers = [0, 1, 0.5, 1e-6, 1e-5, 1e6, 100, 10, 2, 99.9, 1e5, "1e3", ".5", "1_0", "0x1", "inf", "1" * 5000]
    for name in random.sample(names, random.choice((1, 1, 2, 3, 6))):
        usual = getattr(kind(), name)
        fitting = numbers if isinstance(usual, int | float) else [usual]
        value = random.choice(random.choice((ODD, fitting, fitting, fitting, numbers)))
        if isinstance(value, str) and random.random() < 0.7:
            value = kind.parse(name, value)
        changes[name] = value
    made = kind(**changes)
    # What many of them together cost is a user's own choice.
    cost = made.num_drafts * made.beam_size * max(1, getattr(made, "num_iterations", 1))
    made = made.override(max_new_tokens=min(made.max_new_tokens, max(1, 300 // cost)))
    if cost > 2000:
        return
    captioner = zscap.Captioner(
        world.captioner.language_model, matcher=world.captioner.matcher, classifier=world.captioner.classifier,
        options=made, batch_size=random.choice((1, 3)),
    )  # fmt: skip
    for caption in captioner(["one", "two"]):
        check_caption(caption)


def tables(random: Random, folder: Path, world: World) -> None:
    rows = [["text", "label"], *([f"a dog barks {n} times", n % 2] for n in range(20))]
    if random.random() < 0.6:
        rows = odd_json(random, rows)
    if random.random() < 0.3:
        rows[:1] = [
            random.choice((["sentence", "audible"], ["text", "text"], [], ["label"], ["text", "label", "pair"]))
        ]
    stream = StringIO()
    csv.writer(stream).writerows(row if isinstance(row, list) else [row] for row in rows)
    content = stream.getvalue().encode(errors="surrogateescape")
    content = damaged(random, content, [b"\xff\xfe" * 50, b'"' * 900]) if random.random() < 0.5 else content
    names = ("a.csv", "audibility/audible.txt", "audibility/notAudible.txt", "text/clotho_train.json")
    file = folder / random.choice((*names, "text/audiocaps_train.csv", "text/flickr8k_captions.tsv", "pairs.jsonl"))
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    if file.name == "pairs.jsonl":
        lines = [{"model": "m", "seed": 0, "prompt": "p", "topics": []}]
        lines += [{"wanted": "a dog barks", "other": "a dog sits", "request": n} for n in range(3)]
        content = b"".join(as_json(line) + b"\n" for line in odd_json(random, lines))
        file.write_bytes(damaged(random, content, [b"{" * 900]) if random.random() < 0.5 else content)
        read_pairs(file)
    elif file.name == "a.csv":
        table = labelled_texts(file) if random.random() < 0.5 else load_audibility(file)
        label = table["label"] if "label" in table else table["audible"]
        check(label.isin([True, False]).all(), "a row without a label")
    else:
        check(len(read_sentences(folder)) >= 0, "no table")


def keywords(random: Random, folder: Path, world: World) -> None:
    names = ["dog", "rain on a roof", "é", "NA", "", "7", '"', " x "]
    random.shuffle(names)
    file = folder / random.choice(("a.txt", "a.csv"))
    content = "\n".join(names)
    if file.suffix == ".csv":
        content = "index,mid,display_name\n" + "\n".join(f"{n},/m/{n},{name}" for n, name in enumerate(names))
    content = content.encode()
    if random.random() < 0.7:
        content = damaged(random, content, [random.randbytes(99), b"\n" * 99, b'"' * 99, b"x" * 200_000])
    file.write_bytes(content)
    found = read_keywords(file)
    matcher = tiny.HashMatcher()
    check(0 < len(Keywords(found, matcher).best(matcher.encode_source(["a"])[0], 2)) <= 2, "no keywords")
    check_caption(world.captioner("a", keywords=found, num_keywords=1, max_new_tokens=1, num_candidates=5))


def captions_files(random: Random, folder: Path, world: World) -> None:
    """Whatever lies where captions are to go: it stays, but for a row that was cut off and rows of failures."""
    file = folder / random.choice(("a.csv", "a.jsonl"))
    settings = {"preset": "p", "options": {"seed": 1}, "keywords": None}
    captions = [Caption(f"{n}.wav", "audio of", 'a "dog",\nbarks', " a dog", (1, n), 0.5, None, -1.0) for n in range(3)]
    captions.insert(1, Caption("bad.wav", error=UnreadableSource("bad.wav: no such file")))
    with output.Output(file, settings) as out:
        for caption in captions:
            out.write(caption)
    whole = file.read_bytes()
    before = random.choice(
        (damaged(random, whole, [b"{" * 999, b"my notes\n" * 99]), whole[: random.randrange(len(whole))])
    )
    file.write_bytes(before)
    try:
        with output.Output(file, settings, [caption.source for caption in captions]) as out:
            left = out.remaining([caption.source for caption in captions])
            for caption in captions:
                if caption.source in left:
                    out.write(caption)
    except ZscapError:
        check(file.read_bytes() == before, "a file that was refused was changed")
        raise
    after = file.read_bytes()
    check(os.listdir(folder) == [file.name], "files are left behind")
    if whole.startswith(before):
        check(after.count(b'"dog') == whole.count(b'"dog') and after.endswith(b"\n"), "rows are lost")
    lost = _captions_in(file, before) - _captions_in(file, after)
    check(not lost, f"whole rows are lost: {lost}")


def _captions_in(file: Path, content: bytes) -> set[tuple[str, str]]:
    """Source and text of each whole row, as a stranger would read them."""
    text = content.decode("utf-8", "surrogateescape")
    if file.suffix == ".csv":
        whole = text[: text.rfind('"{""seed"": 1}",\n') + 17]
        rows = [row for row in csv.DictReader(StringIO(whole, newline="")) if None not in {*row, *row.values()}]
        return {(row["source"], row["text"]) for row in rows if not row["error"]}
    rows = map(json.loads, text.split("\n")[:-1])
    return {(row["source"], row["text"]) for row in rows if "error" not in row}


def answers(random: Random, folder: Path, world: World) -> None:
    message = {"role": "assistant", "content": "A dog barks now. | A dog sits now."}
    body = as_json({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}})
    if random.random() < 0.6:
        body = as_json(odd_json(random, json.loads(body)))
    body = random.choice((body, body, body, b"[" * 99_999, b"9" * 9999, b"\xff", b""))
    status = random.choice(
        ("200 OK", "200 OK", "200 OK", "400 Bad", "404", "408 x", "429 x", "500 x", "302 x", "999 x")
    )
    head = [f"HTTP/1.1 {status}", random.choice(("Content-Type: application/json", "Content-Encoding: gzip", "A: b"))]
    if random.random() < 0.5:
        head.append(f"Content-Length: {random.choice((len(body), len(body), len(body) + 5, 3, -1, 'x', 10**30))}")
    if random.random() < 0.2:
        head.append("Transfer-Encoding: chunked")
    if random.random() < 0.2:
        head.append("Location: file:///etc/passwd")
    answer = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    world.answers.answer = damaged(random, answer, [b"\r\n" * 200, b"\0" * 400]) if random.random() < 0.5 else answer
    os.environ["FUZZ_KEY"] = random.choice(("sk-secret", "sk-secret", "", "sk-\nsecret", "sk-é"))
    fuzzed = Endpoint("m", world.answers.address, "FUZZ_KEY", tries=2, patience=0.0, timeout=0.5)
    try:
        text = fuzzed("prompt", 0)
    except ZscapError as error:
        check("secret" not in str(error), "the key is in the error")
        raise
    check(isinstance(text, str), "no text")


def commands(random: Random, folder: Path, world: World) -> None:
    """The whole command: good and bad recordings together, a line for each that fails, the others captioned."""
    good, bad = 0, 0
    for number in range(random.randrange(1, 4)):
        name = random.choice(list(world.recordings))
        path = folder / f"{number} {random.choice(('a', 'é', 'two lines', 'x' * 200))}.{name.rpartition('.')[2]}"
        path.write_bytes(world.recordings[name])
        good += 1
        if random.random() < 0.5:
            path.with_suffix(".bad.wav").write_bytes(random.randbytes(100))
            bad += 1
    target = folder.parent / f"{folder.name}.{random.choice(('csv', 'jsonl'))}"
    more = random.choice(
        ([], ["--set", "max_new_tokens=2"], ["--set", f"kappa={random.choice(('1', 'x', '1e-6', '-1'))}"])
    )
    argv = ["zscap", "caption", str(folder), "--preset", "embedded-proximal", "--out", str(target), *more]
    before, sys.argv = sys.argv, argv
    try:
        with redirect_stdout(Stdout()), redirect_stderr(StringIO()) as said:
            cli.main()
    except SystemExit as ended:
        lines = said.getvalue().splitlines()
        check(all(line.startswith("zscap: ") for line in lines), f"it said {lines}")
        if more[-1:] in (["kappa=x"], ["kappa=-1"]):
            check(ended.code == 1 and not target.exists(), "a wrong option was taken")
            return
        check(bool(ended.code) == bool(bad), f"status {ended.code} with {bad} bad: {lines}")
        count = len(list(csv.reader(target.open()))) - 1 if target.suffix == ".csv" else len(target.open().readlines())
        check(count == good + bad, f"{count} rows of {good} and {bad}")
    finally:
        sys.argv = before
        target.unlink(missing_ok=True)


class Stdout(StringIO):
    """Stands for the command's stdout, which it sets up."""

    encoding = "utf-8"

    def reconfigure(self, **_):
        pass


# How many of a hundred inputs are of each family.
SHARES = {
    recordings: 20,
    arrays: 6,
    pictures: 13,
    films: 9,
    weights: 14,
    options: 17,
    tables: 7,
    keywords: 4,
    captions_files: 5,
    answers: 4,
    commands: 1,
}
