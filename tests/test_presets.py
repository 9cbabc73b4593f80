"""Presets: what they are made of, what this machine lacks for them, and how that is said."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from safetensors.numpy import save

import zscap
from zscap.files import packed as files
from zscap.preset import load as presets
from zscap.preset import weights as places

TABLE = tomllib.loads(presets.PRESETS.read_text())


def test_embedded_loads_and_takes_changes():
    captioner = zscap.load("embedded", beam_size=2)
    assert captioner.options.beam_size == 2 and captioner.matcher is not None and captioner.classifier is not None
    assert zscap.presets().loc["embedded", "ready"]


def test_published_systems_have_the_published_settings():
    assert presets.about("audibility-guidance").options == zscap.SteeringOptions()
    assert presets.about("zeraucap").options == zscap.MagicOptions()
    guided = presets.about("classifier-guided").options
    assert (guided.kl_scale, guided.classifier_scale, guided.combine) == (0.2, 0.6, "losses")
    for made in presets._presets().values():
        for part in made.parts.values():
            if isinstance(part.weights, places.Hub):
                assert len(part.weights.revision) == 40


ZIPPED = b"PK\3\4" + bytes(5000) + b"PK\5\6" + bytes(18)


def content_of(name):
    """Something that a file of this name may hold."""
    by_suffix = {".txt": b"a b\nc d\n", ".safetensors": save({"a": np.zeros(1000)}), ".bin": ZIPPED}
    return by_suffix.get(Path(name).suffix, b'"%s"' % name.encode())


def checksum_of(content, suffix):
    """As the hub has it: sha256 of large files, git's own of others."""
    if suffix in (".json", ".txt"):
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's cache, empty; a call puts the files of a network there as the hub's client does, and says where."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def cached(weights, *more):
        folder = tmp_path / "hub" / f"models--{weights.folder.replace('/', '--')}"
        snapshot = folder / "snapshots" / weights.revision
        for each in (folder / "blobs", snapshot):
            each.mkdir(parents=True)
        for name in (*weights.files, *more):
            content = content_of(name)
            checksum = checksum_of(content, Path(name).suffix)
            (folder / "blobs" / checksum).write_bytes(content)
            (snapshot / name).symlink_to(f"../../blobs/{checksum}")
        return snapshot

    return cached


def test_absent_weights_are_named_with_how_to_get_them(monkeypatch, tmp_path, hub):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(zscap.MissingWeights) as caught:
        zscap.load("audibility-guidance")
    message = str(caught.value)
    for part in (
        "zscap fetch audibility-guidance",
        "1.5 GB",
        "papermill notebooks/02_train_classifier.ipynb",
        "imagebind_huge.pth",
        "cache/imagebind/imagebind_huge.pth (4.8 GB, CC-BY-NC-SA 4.0)",
    ):
        assert part in message
    assert "\n" not in message


def test_imagebind_alone_is_missing_and_every_file_counts(monkeypatch, tmp_path, hub):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "SMALL", 0)
    parts = presets.about("audibility-guidance").parts
    hub(parts["language_model"].weights)
    trained = tmp_path / "runs" / "audibility-distilbert"
    trained.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (trained / name).write_bytes(content_of(name))
        with pytest.raises(zscap.MissingWeights, match=r"imagebind.*; runs/audib\S+/(config|tokenizer)\.json, which"):
            zscap.load("audibility-guidance")
    (trained / "tokenizer.json").write_text("{")
    with pytest.raises(zscap.MissingWeights, match=r"; a whole runs/audib\S+/tokenizer\.json, which you make: run `"):
        zscap.load("audibility-guidance")
    (trained / "tokenizer.json").write_text("{}")
    with pytest.raises(zscap.MissingWeights, match=r"lacks \S*imagebind_huge\.pth \(4\.8 GB, CC-BY-\S+ 4\.0\): [^;]*$"):
        zscap.load("audibility-guidance")
    folder = tmp_path / "cache" / "imagebind"
    folder.mkdir(parents=True)
    for name, published in parts["matcher"].weights.files.items():
        with (folder / name).open("wb") as file:
            file.truncate(published["bytes"] - len(end := ZIPPED[-22:]) - 1)  # cut off; sparse
            file.seek(0, os.SEEK_END)
            file.write(end)
    assert parts["matcher"].weights.damaged() == list(parts["matcher"].weights.files)
    for name in parts["matcher"].weights.files:
        with (folder / name).open("rb+") as file:
            file.seek(-len(end), os.SEEK_END)
            file.write(b"\0" + end)
    assert presets.about("audibility-guidance").problems() == []


@pytest.mark.parametrize(
    ("preset", "role"),
    [("audibility-guidance", "language_model"), ("zeraucap", "language_model"), ("zeraucap", "matcher")],
)
def test_a_file_of_the_hubs_that_was_cut_off_is_seen_at_once(hub, preset, role):
    weights = presets.about(preset).parts[role].weights
    snapshot = hub(weights, "tokenizer_config.json")
    assert weights.problem(preset) is None and weights.path == snapshot
    for name in weights.names:
        file, copied = snapshot / name, snapshot / f"copied{Path(name).suffix}"
        whole = file.read_bytes()
        for kept in (0, 1, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:kept])
            assert weights.problem(preset) == f"a whole {name} of {weights.description}: run `zscap fetch {preset}`"
            copied.write_bytes(whole[:kept])  # where no links can be made, there is no checksum
            assert copied.name in weights.damaged() or copied.suffix == ".txt"
            copied.unlink()
        file.write_bytes(whole)
    assert weights.problem(preset) is None
    (snapshot / "old.bin").write_bytes(b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # as torch's files began before 1.6
    assert weights.damaged() == []


def test_weights_of_the_working_directory_do_not_stand_for_the_hubs(monkeypatch, tmp_path, hub):
    monkeypatch.chdir(tmp_path)
    weights = presets.about("zeraucap").parts["matcher"].weights
    (tmp_path / weights.folder).mkdir(parents=True)
    for name in weights.files:
        (tmp_path / weights.folder / name).write_bytes(content_of(name))
    assert weights.damaged() == sorted(weights.files) and weights.path != Path(weights.folder)


def test_what_is_downloaded_has_a_checksum_and_a_safe_address(monkeypatch, tmp_path):
    for preset in presets._presets().values():
        for part in preset.parts.values():
            if isinstance(part.weights, places.Downloaded):
                for published in part.weights.files.values():
                    assert published["url"].startswith("https://") and len(published["sha256"]) == 64
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(places, "download", lambda url, path, sha256: asked.append((path, sha256)))
    weights = presets.about("audibility-guidance").parts["matcher"].weights
    weights.fetch()
    assert asked == [(tmp_path / "imagebind" / name, made["sha256"]) for name, made in weights.files.items()]


def test_a_download_of_other_bytes_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "served").write_bytes(b"something else")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, target = f"http://127.0.0.1:{server.server_port}/served", tmp_path / "cache" / "file"
        with pytest.raises(ValueError, match="hash"):
            files.download(url, target, "0" * 64)
        assert not target.exists()
        published = checksum_of(b"something else", "")
        files.download(url, target, published)
        target.write_bytes(b"something damaged")
        with pytest.raises(ValueError, match="hash"):
            files.download(url, target, "0" * 64)
        assert target.read_bytes() == b"something damaged"
        files.download(url, target, published)
        server.shutdown()
    assert target.read_bytes() == b"something else" and [*target.parent.iterdir()] == [target]


FILES = ("matcher.safetensors", "classifier.safetensors", "language_model/model.safetensors")


def test_every_file_of_a_preset_counts(monkeypatch, tmp_path):
    shutil.copytree(files.ASSETS, tmp_path / "assets")
    monkeypatch.setattr(places, "PACKAGE", tmp_path)
    for preset in (name for name in TABLE if name.startswith("embedded")):
        assert presets.about(preset).problems() == []
        for part in presets.about(preset).parts.values():
            for name in part.weights.files:
                file = part.weights.root / name
                whole = file.read_bytes()
                file.unlink()
                with pytest.raises(zscap.MissingWeights, match=rf" lacks /\S+/{re.escape(name)}: install zscap again"):
                    zscap.load(preset)
                file.write_bytes(whole[:-1] + b" ")
                assert not zscap.presets().loc[preset, "ready"], (preset, name)
                file.write_bytes(whole)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_truncated_weights_file_is_named(monkeypatch, tmp_path, file, keep):
    shutil.copytree(files.ASSETS, tmp_path / "assets")
    whole = (tmp_path / "assets" / file).read_bytes()
    (tmp_path / "assets" / file).write_bytes(whole[:keep])
    monkeypatch.setattr(places, "PACKAGE", tmp_path)
    with pytest.raises(zscap.MissingWeights, match=rf"a whole /\S+{file}: install zscap again") as caught:
        zscap.load("embedded")
    assert "\n" not in str(caught.value)


def test_unknown_presets():
    with pytest.raises(zscap.UnknownPreset, match="unknown preset 'embeded': did you mean 'embedded'"):
        zscap.load("embeded")
    with pytest.raises(zscap.InvalidOption, match="device 'tpu'"):
        zscap.load("embedded", device="tpu")


def test_embedded_captions_name_the_sound_alone_and_in_a_batch():
    clips = [
        files.REPOSITORY / "data" / "soundscapes" / f"{name}.flac" for name in ("rain-1", "rooster-2", "clock_tick-1")
    ]
    captioner = zscap.load("embedded")
    together = captioner(clips)
    for caption, word in zip(together, ("rain", "crow", "clock"), strict=True):
        assert word in caption.text
    assert [captioner(clip).tokens for clip in clips] == [caption.tokens for caption in together]
    alone = captioner(clips, num_iterations=0)
    assert len({caption.text for caption in alone}) == 1 and alone[0].classifier < 0.3  # it hears nothing by itself


@pytest.mark.parametrize("preset", [name for name in TABLE if not name.startswith("embedded")])
def test_every_preset_without_its_weights_says_so_in_one_line(monkeypatch, tmp_path, preset, hub):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(zscap.MissingWeights, match=r"lacks .*\d [GM]B, .*run `zscap fetch") as caught:
        zscap.load(preset)
    assert "\n" not in str(caught.value)
    row = zscap.presets().loc[preset]
    assert not row.ready and row.missing in str(caught.value)
    for part in presets.about(preset).parts.values():
        if part.weights.downloadable:
            assert part.weights.description in str(caught.value) and part.weights.gigabytes > 0.05


@pytest.mark.parametrize("keywords", [(), ("--keywords", "names.txt")])
def test_what_is_missing_is_said_before_anything_slow_is_imported(tmp_path, keywords):
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    (tmp_path / "a.wav").touch()
    command = ["-m", "zscap", "caption", "a.wav", "--preset", "zeraucap", *keywords]
    environment = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(files.REPOSITORY)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert time.perf_counter() - started < 10  # a third of a second, but for what else the machine does
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not {"torch", "transformers", "pandas", "scipy"} & imported and "zscap.preset.load" in imported
    (said,) = (line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert said.startswith("zscap: preset 'zeraucap' lacks laion/clap") and "zscap fetch zeraucap" in said


def test_a_preset_that_lacks_weights_imports_nothing_slow(tmp_path):
    code = """
import sys, zscap
try:
    zscap.load("zeraucap")
except zscap.MissingWeights as error:
    print(error)
print("torch" in sys.modules, "transformers" in sys.modules, zscap.Captioner.__name__)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(files.REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "zscap fetch zeraucap" in done.stdout and done.stdout.splitlines()[-1] == "False False Captioner"


class HubServer(BaseHTTPRequestHandler):
    """As much of the hub as its client needs for one repository, whose files any other address serves too."""

    files: ClassVar[dict[str, bytes]] = {}
    lies: ClassVar[bytes | None] = None  # what is sent in place of any file
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        name, head = self.path.split("/")[-1], {}
        if self.path.startswith("/api/"):
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": checksum_of(content, ".txt")}
                for name, content in self.files.items()
            ]
            content = json.dumps(listed if "/tree/" in self.path else {}).encode()
        else:
            self.asked.append(name)
            content = self.files[name]
            head = {"X-Repo-Commit": REVISION, "ETag": f'"{checksum_of(content, Path(name).suffix)}"'}
            content = content if self.lies is None else self.lies
        self.send_response(200)
        for key, value in (head | {"Content-Length": len(content)}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


REVISION = "0123456789" * 4
LARGE = save({"a": np.zeros(places.SMALL // 8)})
MINE = """
[mine]
description = ""
takes = ["audio"]
license = "MIT"
guidance = "steering"

[mine.language_model]
network = "causal"
place = "hub"
folder = "owner/name"
revision = "{revision}"
gigabytes = 0.1
license = "MIT"
files = ["config.json", "model.safetensors"]

[mine.matcher]
network = "imagebind"
place = "download"
folder = "mine"
entry = "large.pth"
gigabytes = 0.2
license = "MIT"
files."large.pth" = {{ url = "{url}/large.pth", sha256 = "{sha256}", bytes = {bytes} }}

[mine.classifier]
network = "text-classifier"
place = "folder"
folder = "."
files = ["own.json"]
command = "make"
"""


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Runs `zscap fetch` of a preset with all kinds of places; gives its status, lines, and what was downloaded."""
    large = LARGE + ZIPPED
    monkeypatch.setattr(HubServer, "files", {"config.json": b"{}", "model.safetensors": LARGE, "large.pth": large})
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    mine = {"revision": REVISION, "url": url, "sha256": checksum_of(large, ""), "bytes": len(large)}
    (tmp_path / "mine.toml").write_text(MINE.format(**mine))
    (tmp_path / "own.json").write_text("{}")
    environment = {"ZSCAP_PRESETS": "mine.toml", "ZSCAP_CACHE": str(tmp_path), "HF_HOME": str(tmp_path)}
    environment |= {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(files.REPOSITORY)}

    def run(*options, offline=False):
        HubServer.asked.clear()
        command = [sys.executable, "-m", "zscap", "fetch", "mine", *options]
        variables = {**os.environ, **environment, **({"HF_HUB_OFFLINE": "1"} if offline else {})}
        done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=tmp_path)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), set(HubServer.asked)

    yield run
    server.shutdown()
    server.server_close()


def test_fetch_brings_what_is_missing_and_check_finds_what_is_damaged(fetch, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / REVISION
    weights, other = snapshot / "model.safetensors", tmp_path / "mine" / "large.pth"
    whole = {file: HubServer.files[file.name] for file in (snapshot / "config.json", weights, other)}
    described = ["owner/name (0.1 GB, MIT)", f"{other} (0.2 GB, MIT)"]

    assert fetch() == (0, described[::-1], [], {"config.json", "model.safetensors", "large.pth"})
    assert {file: file.read_bytes() for file in whole} == whole
    assert fetch() == (0, ["mine: nothing to download"], [], set())

    for file, content in whole.items():  # what is cut off needs no --check
        file.write_bytes(content[:1])
        expected = f"a whole {file.name} of {described[file == other]}"
        assert fetch() == (0, [expected], [], {file.name}) and file.read_bytes() == content

    for file in (weights, other):  # a changed bit does
        file.write_bytes(whole[file][:-30] + b"\1" + whole[file][-29:])
    assert fetch() == (0, ["mine: nothing to download"], [], set())
    expected = [f"a whole {file.name} of {described[file == other]}" for file in (other, weights)]
    counted = "mine: 4 files checked, 1 of them with no checksum to compare; {} downloaded"
    assert fetch("--check") == (0, [*expected, counted.format(2)], [], {"model.safetensors", "large.pth"})
    assert {file: file.read_bytes() for file in whole} == whole
    assert fetch("--check")[:3] == (0, ["mine: nothing to download", counted.format(0)], [])

    weights.write_bytes(cut := LARGE[:-1])
    status, _, errors, _ = fetch("--check", offline=True)
    assert status == 1 and "offline mode" in errors[0] and len(errors) == 1 and weights.read_bytes() == cut

    other.write_bytes(cut)
    monkeypatch.setattr(HubServer, "lies", b"something else")
    status, _, errors, _ = fetch("--check")
    assert status == 1 and "cannot be downloaded" in errors[0] and len(errors) == 1 and other.read_bytes() == cut
    other.write_bytes(whole[other])
    status, _, errors, _ = fetch("--check")
    assert status == 1 and "cannot be downloaded" in errors[0] and len(errors) == 1
    monkeypatch.setattr(HubServer, "lies", None)
    assert fetch("--check")[0] == 0 and weights.read_bytes() == LARGE

    (tmp_path / "own.json").write_text("{")
    status, lines, errors, _ = fetch("--check")
    assert (status, lines[-1]) == (1, counted.format(0))
    assert errors == ["zscap: preset 'mine' lacks a whole own.json, which you make: run `make`"]


def test_packaged_files_are_checked_but_cannot_be_mended(monkeypatch, tmp_path):
    shutil.copytree(files.ASSETS, tmp_path / "assets")
    monkeypatch.setattr(places, "PACKAGE", tmp_path)
    lines = []
    presets.fetch("embedded", check=True, say=lines.append)
    assert lines[1] == "embedded: 7 files checked, 0 of them with no checksum to compare; 0 downloaded"
    (tmp_path / "assets" / "classifier.safetensors").write_bytes(b"")
    with pytest.raises(zscap.MissingWeights, match=r"lacks a whole \S+classifier\.safetensors: install zscap again$"):
        presets.fetch("embedded", check=True, say=lines.append)


def test_audiosets_names_are_the_keywords_where_they_lie(monkeypatch, tmp_path):
    """A preset with keywords, put together from the embedded networks; asked for early or late."""
    table = {**TABLE["zeraucap"], "language_model": "embedded", "matcher": "embedded"}
    table["options"] = {**table["options"], "max_length": 40}
    made = presets._read("small", table, TABLE)
    monkeypatch.setattr(presets, "_presets", lambda: {"small": made})
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    clip = files.REPOSITORY / "data" / "soundscapes" / "rain-1.flac"
    own = zscap.load("small")(clip).prompt
    (tmp_path / "audioset").mkdir()
    (tmp_path / "audioset" / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/1,"Rain, Raindrop"\n')
    asked_late = zscap.load("small", num_keywords=0)(clip, num_keywords=2)
    assert zscap.load("small")(clip).prompt == "Objects: Raindrop, and a Rain. This is a sound of " == asked_late.prompt
    assert own != asked_late.prompt


@pytest.mark.parametrize(
    "line",
    ["takes = 3", "takes = [1]", "takes = ['smell']", "description = 1", "options = 1", "guidance = 1"]
    + [f"[x.matcher]\nplace = 'hub'\nnetwork = 'clap'\ngigabytes = 1\nlicense = ''\nfolder = 'a'\nfiles = []\n{more}"
       for more in ("revision = 3", "settings = 3", "entry = []", "dtype = 1")],
)  # fmt: skip
def test_presets_of_wrong_types_are_refused(monkeypatch, tmp_path, line):
    usual = {"takes": "['audio']", "description": "''", "license": "''", "guidance": "'magic'"}
    usual = "".join(f"{name} = {value}\n" for name, value in usual.items() if not line.startswith(name))
    (tmp_path / "own.toml").write_text(f"[x]\n{usual}{line}\n")
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "own.toml"))
    with pytest.raises(zscap.InvalidData, match=r"preset 'x': .*must be") as caught:
        zscap.presets()
    assert "\n" not in str(caught.value)


def test_a_network_that_is_unknown_is_refused(monkeypatch, tmp_path):
    (tmp_path / "own.toml").write_text(
        "[x]\ntakes = ['audio']\ndescription = ''\nlicense = ''\nguidance = 'magic'\n"
        f"[x.language_model]\nplace = 'folder'\nnetwork = 'cuasal'\nfolder = '{tmp_path}'\nfiles = []\ncommand = ''\n"
    )
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "own.toml"))
    with pytest.raises(zscap.InvalidData, match=r"network='cuasal': did you mean 'causal'\?"):
        zscap.load("x")
