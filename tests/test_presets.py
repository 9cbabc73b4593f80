"""Presets: what they are made of, what this machine lacks for them, how that is said, and how it is fetched."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import save
from transformers.utils import logging as transformers_logging

import zscap
from zscap.folders import ASSETS, REPOSITORY
from zscap.preset import weights as places
from zscap.preset.downloads import DATASETS
from zscap.preset.load import PRESETS, about, all_presets, fetch
from zscap.preset.networks import read_networks

CLIPS = REPOSITORY / "data" / "soundscapes"
EMBEDDED = [name for name in tomllib.loads(PRESETS.read_text()) if name.startswith("embedded")]
OTHERS = [name for name in tomllib.loads(PRESETS.read_text()) if not name.startswith("embedded")]


# Presets


def test_embedded_captions_name_the_sound_alone_and_in_a_batch():
    captioner = zscap.load("embedded", max_new_tokens=4, num_candidates=48)
    assert captioner.options.max_new_tokens == 4 and captioner.matcher and captioner.classifier
    clips = [CLIPS / f"{name}.flac" for name in ("rain-1", "rooster-2", "clock_tick-1")]
    together = captioner(clips)
    for caption, word in zip(together, ("rain", "crow", "clock"), strict=True):
        assert word in caption.text
    assert captioner(clips[1]).tokens == together[1].tokens
    assert len({caption.text for caption in captioner(clips, num_iterations=0)}) == 1  # it hears nothing by itself


@pytest.mark.parametrize("enabled", [True, False])
def test_loading_changes_no_setting_of_transformers(monkeypatch, enabled):
    monkeypatch.setattr("transformers.utils.logging._tqdm_active", enabled)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_info()
    try:
        zscap.load("embedded")
        assert transformers_logging.get_verbosity() == transformers_logging.INFO
        assert transformers_logging.is_progress_bar_enabled() == enabled
    finally:
        transformers_logging.set_verbosity(verbosity)


def test_published_systems_have_the_published_settings():
    assert about("audibility-guidance").options == zscap.SteeringOptions()
    assert about("zeraucap").options == zscap.MagicOptions()
    guided = about("classifier-guided").options
    assert (guided.kl_scale, guided.classifier_scale, guided.combine) == (0.2, 0.6, "losses")


def test_what_is_downloaded_is_pinned_and_has_a_safe_address():
    weights = [part.weights for preset in all_presets().values() for part in preset.parts.values()]
    for each in [*weights, *DATASETS.values()]:
        assert each.place != "hub" or len(each.revision) == 40
        assert each.place != "wheel" or len(each.sha256) == 64
        assert not each.wheel or "==" in each.wheel
        for file in each.files.values() if each.place in ("download", "data") and not each.wheel else ():
            assert file["url"].startswith("https://")
            assert len(file.get("sha256", "")) == 64 or "c27bc303e5a4d836714858a27c02a812b62d537f" in file["url"]
    assert {each.place for each in weights} == {"package", "hub", "download", "folder", "wheel"}


def test_a_language_model_may_be_a_folder_or_what_the_hubs_cache_holds(monkeypatch, tmp_path):
    tiny.language_model(tmp_path / "mine")
    for folder in (tmp_path / "mine", str(tmp_path / "mine")):
        assert zscap.load("embedded", language_model=folder, prompt="Audio of").language_model.vocabulary_size < 500
    monkeypatch.chdir(tmp_path)
    for name, says in {"no/gpt2": r"or run `hf download no/gpt2`$", str(tmp_path): r"or fetch it again$"}.items():
        with pytest.raises(zscap.MissingWeights, match=rf"^{name}: no whole checkpoint .*; give a folder .*{says}"):
            zscap.load("embedded", language_model=name)


OWN = """
[x]
takes = ["audio"]
description = ""
license = ""
guidance = "magic"
"""
NETWORK = """
[x.language_model]
place = "folder"
network = "causal"
folder = "."
files = []
command = ""
"""


@pytest.fixture
def own(monkeypatch, tmp_path):
    """Writes the user's file of presets."""
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "own.toml"))
    return (tmp_path / "own.toml").write_text


WRONG = {
    OWN: ["takes = 3", "takes = [1]", 'takes = ["smell"]', "description = 1", "guidance = 1", "options = 1"],
    NETWORK: ["revision = []", "settings = 3", "dtype = 1", "files = [1]", 'place = "cellar"', 'network = "cuasal"'],
}


@pytest.mark.parametrize("wrong", [*WRONG[OWN], *WRONG[NETWORK]])
def test_presets_of_wrong_types_are_refused(own, wrong):
    name, table = wrong.split()[0], OWN if wrong in WRONG[OWN] else NETWORK
    others = [line for line in table.splitlines() if line.split(" ")[0] != name]
    own((OWN + NETWORK).replace(table, "\n".join([*others, wrong, ""])))
    with pytest.raises(zscap.InvalidData, match=rf"{name}=.*(must be|did you mean 'causal')") as caught:
        zscap.load("x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate"),
        (RuntimeError, "MPS backend out of memory (MPS allocated:"),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory,"),
    ],
)
def test_too_little_memory_is_no_damaged_file(monkeypatch, kind, says):
    """A network's `.to(device)` may stand where damaged files are caught."""

    def to(self, *_, **__):
        raise kind(f"{says} 9.00 GiB")

    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr("transformers.PreTrainedModel.to", to)
    with pytest.raises(zscap.InvalidOption, match=r"device='cpu': has no room for \S+, .* GB .*9\.00 GiB.* smaller"):
        zscap.load("embedded")
    with pytest.raises(zscap.InvalidOption, match=r"has no room for \S+language_model, .* smaller preset"):
        read_networks(about("embedded").parts, ["language_model"])


def test_audiosets_names_are_the_keywords_where_they_lie(own, monkeypatch, tmp_path):
    """Asked for early or late."""
    own(OWN + 'language_model = "embedded"\nmatcher = "embedded"\n[x.options]\nmax_length = 40\nmax_new_tokens = 3\n')
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    clip = CLIPS / "rain-1.flac"
    (tmp_path / "audioset").mkdir()
    (tmp_path / "audioset" / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/1,"Rain, Raindrop"\n')
    asked_late = zscap.load("x", num_keywords=0)(clip, num_keywords=2)
    assert zscap.load("x")(clip).prompt == "Objects: Raindrop, and a Rain. This is a sound of " == asked_late.prompt


# What is missing


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """Empty ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("preset", OTHERS)
def test_every_preset_without_its_weights_says_so_in_one_line(caches, preset):
    says = rf"^preset '{preset}' lacks .*\d [GM]B, .*run `zscap fetch"
    with pytest.raises(zscap.MissingWeights, match=says) as caught:
        zscap.load(preset)
    assert "\n" not in str(caught.value)
    for part in about(preset).parts.values():
        weights = part.weights
        assert weights.place == "package" or f"{weights.description}" in str(caught.value)
        assert weights.place not in places.DOWNLOADS or weights.gigabytes > 0.05


@pytest.fixture
def assets(monkeypatch, tmp_path):
    """A copy of the files that ship."""
    monkeypatch.setattr(places, "PACKAGE", tmp_path)
    return shutil.copytree(ASSETS, tmp_path / "assets", ignore=shutil.ignore_patterns("small*"))


def test_every_file_of_a_preset_counts(assets, caplog):
    caplog.set_level(logging.INFO, "zscap")
    fetch("embedded", check=True)
    checked = "embedded: 7 files checked, 0 of them with no checksum to compare"
    assert caplog.messages == ["embedded: nothing to download", checked]
    for preset in EMBEDDED:
        for role, part in about(preset).parts.items():
            for name in part.weights.names:
                file = part.weights.root / name
                whole = file.read_bytes()
                for damaged in (None, b"", whole[:100], whole[:-1] + b" "):
                    file.unlink()
                    if damaged is not None:
                        file.write_bytes(damaged)
                    (problem,) = about(preset).problems([role])
                    assert problem == f"a whole {name} of {part.weights.root}: install zscap again"
                    file.write_bytes(whole)
    (assets / "classifier.safetensors").write_bytes(b"")
    for used in (zscap.load, lambda preset: fetch(preset, check=True)):
        with pytest.raises(zscap.MissingWeights, match=r"lacks a whole classifier\.safetensors of /\S+: install zscap"):
            used("embedded")
    assert not zscap.presets().loc["embedded", "ready"] and zscap.presets().loc["embedded-scenes", "ready"]


def test_what_is_missing_is_said_before_anything_slow_is_imported(tmp_path):
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    (tmp_path / "a.wav").touch()
    command = f"{sys.executable} -X importtime -m zscap caption a.wav --preset zeraucap --keywords names.txt".split()
    environment = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    said = [line.rpartition(" | ")[2].strip() for line in done.stderr.splitlines()]
    assert not {"torch", "transformers", "pandas", "scipy"} & set(said) and "zscap.preset.load" in said
    assert "preset 'zeraucap' lacks laion/clap" in said[-1] and "zscap fetch zeraucap" in said[-1]


# Fetching


NEEDS = [("pip", "texts"), ("gguf", "language_model"), ("accelerate", "language_model")]


@pytest.mark.parametrize(("absent", "role"), NEEDS)
def test_what_fetching_needs_is_named_before_anything_is_downloaded(caches, monkeypatch, tmp_path, absent, role):
    monkeypatch.setitem(sys.modules, absent, None)
    says = rf"{absent}.*`pip install 'zscap\[small\]'`.*`uv pip install {absent}`"
    with pytest.raises(zscap.MissingWeights, match=says):
        about("small").parts[role].weights.fetch()
    assert not (tmp_path / "cache").exists()


def checksum_of(content, suffix):
    """As the hub has it: sha256 of large files, git's own of others."""
    if suffix in (".json", ".txt"):
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return hashlib.sha256(content).hexdigest()


class HubServer(BaseHTTPRequestHandler):
    """As much of the hub as its client needs for one repository, whose files any other address serves too."""

    files: ClassVar[dict[str, bytes]] = {}
    kept_back: ClassVar[int] = 0  # of each file's bytes, the last
    lies: ClassVar[bytes | None] = None  # what is sent in place of any file
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        name = self.path.split("/")[-1]
        content = self.files.get(name, b"{}")
        self.send_response(200)
        if self.path.startswith("/api/"):
            listed = [{"type": "file", "path": each, "size": len(self.files[each]), "oid": ""} for each in self.files]
            content = json.dumps(listed).encode() if "/tree/" in self.path else content
        else:
            self.asked.append(name)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{checksum_of(content, Path(name).suffix)}"')
            content = content if self.lies is None else self.lies
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) - self.kept_back])

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    """A real web server: its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), HubServer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


REVISION = "0123456789" * 4
LARGE, ZIPPED = save({"a": np.zeros(1000)}), b"PK\3\4" + bytes(5000) + b"PK\5\6" + bytes(18)
FILES = {"config.json": b"{}", "merges.txt": b"a b\nc d\n", "model.safetensors": LARGE, "pytorch_model.bin": ZIPPED}
MINE = """
[x.language_model]
network = "causal"
place = "hub"
folder = "owner/name"
revision = "{revision}"
gigabytes = 0.1
license = "MIT"
files = ["config.json", "merges.txt", "model.safetensors", "pytorch_model.bin"]

[x.matcher]
network = "imagebind"
place = "download"
folder = "mine"
gigabytes = 0.2
license = "MIT"
entry = "large.pth"
files."large.pth" = {{ url = "{url}/large.pth", sha256 = "{sha256}", bytes = {bytes} }}

[x.classifier]
network = "text-classifier"
place = "folder"
folder = "."
files = ["own.json"]
command = "make"
"""


@pytest.fixture
def fetched(own, caches, tmp_path, monkeypatch, caplog):
    """Fetches a preset with all kinds of places; gives what was logged, and what was downloaded."""
    large = LARGE + ZIPPED
    monkeypatch.setattr(places, "SMALL", 100)
    monkeypatch.setattr(HubServer, "files", FILES | {"large.pth": large})
    (tmp_path / "own.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    caplog.set_level(logging.INFO, "zscap")

    def run(**settings):
        HubServer.asked.clear()
        caplog.clear()
        fetch("x", **settings)
        return [record.message for record in caplog.records if record.name.startswith("zscap")], set(HubServer.asked)

    with serving() as url:
        own(OWN + MINE.format(revision=REVISION, url=url, sha256=checksum_of(large, ""), bytes=len(large)))
        address = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
        yield run


def test_fetch_brings_what_is_missing_and_check_finds_what_is_damaged(fetched, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / REVISION
    weights, other = snapshot / "model.safetensors", tmp_path / "cache" / "mine" / "large.pth"
    whole = {snapshot / name: content for name, content in FILES.items()} | {other: HubServer.files["large.pth"]}
    described = ["owner/name (0.1 GB, MIT)", f"{other} (0.2 GB, MIT)"]
    nothing, counted = "x: nothing to download", "x: 6 files checked, 1 of them with no checksum to compare"

    assert fetched() == (described, set(HubServer.files))
    assert {file: file.read_bytes() for file in whole} == whole
    assert fetched() == ([nothing], set())

    for file, content in whole.items():  # what is cut off needs no check
        file.write_bytes(content[:1])
        said = f"a whole {file.name} of {described[file == other]}"
        assert fetched() == ([said], {file.name}) and file.read_bytes() == content
    weights.unlink()
    weights.write_bytes(b"no link, and cut off")
    assert fetched()[1] == {"model.safetensors"} and weights.read_bytes() == LARGE and weights.is_symlink()

    for file in (weights, other):  # a changed bit does
        file.write_bytes(whole[file][:-30] + b"\1" + whole[file][-29:])
    assert fetched() == ([nothing], set())
    said, asked = fetched(check=True)
    assert said == [f"a whole model.safetensors of {described[0]}", f"a whole large.pth of {described[1]}", counted]
    assert asked == {"model.safetensors", "large.pth"} and {file: file.read_bytes() for file in whole} == whole
    assert fetched(check=True)[0] == [nothing, counted]

    weights.write_bytes(cut := LARGE[:-1])
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(zscap.MissingWeights, match=r"cannot be downloaded .*offline mode"):
            fetched(check=True)
    assert weights.read_bytes() == cut
    monkeypatch.setattr(HubServer, "lies", b"something else")
    other.write_bytes(cut)
    with pytest.raises(zscap.MissingWeights, match=r"cannot be downloaded .*(hash|sends another model)"):
        fetched(check=True)
    assert other.read_bytes() == cut and [*other.parent.iterdir()] == [other]
    other.write_bytes(whole[other])
    with pytest.raises(zscap.MissingWeights, match="cannot be downloaded"):
        fetched()
    monkeypatch.setattr(HubServer, "lies", None)
    assert fetched(check=True)[0][-1] == counted and weights.read_bytes() == LARGE

    (tmp_path / "own.json").write_text("{")
    with pytest.raises(zscap.MissingWeights, match=r"lacks a whole own\.json of \., which you make: run `make`"):
        fetched(check=True)


def test_a_file_of_the_hubs_that_was_cut_off_is_seen_at_once(fetched):
    fetched()
    weights = about("x").parts["language_model"].weights
    for name in weights.names:
        file = weights.root / name
        whole, blob = file.read_bytes(), file.resolve()
        for kept in (0, len(whole) // 2, len(whole) - 1):
            blob.write_bytes(whole[:kept])
            assert weights.problem("x") == f"a whole {name} of {weights.description}: run `zscap fetch x`"
            file.unlink()
            file.write_bytes(whole[:kept])  # where no links can be made, there is no checksum
            assert weights.damaged() == ([] if file.suffix == ".txt" else [name])
            file.unlink()
            file.symlink_to(blob)
        blob.write_bytes(whole)
    file.unlink()
    file.write_bytes(b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # torch's before 1.6 say nothing of their length
    assert weights.damaged() == []


def test_weights_of_the_working_directory_do_not_stand_for_the_hubs(fetched):
    weights = about("x").parts["language_model"].weights
    Path(weights.folder).mkdir(parents=True)
    for name, content in FILES.items():
        Path(weights.folder, name).write_bytes(content)
    assert weights.damaged() == weights.names and weights.path != Path(weights.folder)
