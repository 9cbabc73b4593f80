"""Presets: what they are made of, what this machine lacks for them, and how that is said."""

import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import zscap
from zscap import files
from zscap.preset import load as presets
from zscap.preset import places

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


@pytest.fixture
def hub(monkeypatch):
    """The names of repositories that count as cached; nothing of the real cache is looked at."""
    cached = set()
    found = lambda path, *_, **__: path if path in cached else None  # noqa: E731
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", found)
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
    hub.add("openai-community/gpt2-medium")
    trained = tmp_path / "runs" / "audibility-distilbert"
    trained.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (trained / name).touch()
        with pytest.raises(zscap.MissingWeights, match=r"imagebind.*; (config|tokenizer)\.json in runs/audib"):
            zscap.load("audibility-guidance")
    (trained / "tokenizer.json").touch()
    with pytest.raises(zscap.MissingWeights, match=r"lacks \S*imagebind_huge\.pth \(4\.8 GB, CC-BY-\S+ 4\.0\): [^;]*$"):
        zscap.load("audibility-guidance")
    parts = presets.about("audibility-guidance").parts
    folder = tmp_path / "cache" / "imagebind"
    folder.mkdir(parents=True)
    for name, published in parts["matcher"].weights.files.items():
        with (folder / name).open("wb") as file:
            file.truncate(published["bytes"] - 1)  # cut off; sparse
    assert parts["matcher"].weights.problem("audibility-guidance")
    for name, published in parts["matcher"].weights.files.items():
        with (folder / name).open("ab") as file:
            file.truncate(published["bytes"])
    assert presets.about("audibility-guidance").problems() == []


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
        files.download(url, target, files.sha256_of(tmp_path / "served"))
        server.shutdown()
    assert target.read_bytes() == b"something else"


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
                with pytest.raises(zscap.MissingWeights, match=rf"{re.escape(name)}: absent; install zscap again"):
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
    with pytest.raises(zscap.MissingWeights, match=rf"{file.split('/')[-1]}.*install zscap again") as caught:
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
    with pytest.raises(zscap.MissingWeights, match=r"lacks .*\d GB, .*run `zscap fetch") as caught:
        zscap.load(preset)
    assert "\n" not in str(caught.value)
    row = zscap.presets().loc[preset]
    assert not row.ready and row.missing in str(caught.value)
    for fetched in presets.downloads(preset):
        assert fetched.description in str(caught.value) and fetched.gigabytes > 0.1


def test_what_is_missing_is_said_before_anything_slow_is_imported(tmp_path):
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


def test_fetch_downloads_what_is_missing_at_the_pinned_commit(monkeypatch, tmp_path, hub):
    monkeypatch.chdir(tmp_path)
    asked = []

    def snapshot(path, revision, allow_patterns):
        asked.append((path, revision, allow_patterns[-1]))
        hub.add(path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    presets.fetch("zeraucap")
    parts = presets.about("zeraucap").parts
    assert asked == [
        (part.weights.path, part.weights.revision, part.weights.files[-1])
        for part in (parts["matcher"], parts["language_model"])
    ]
    assert presets.downloads("zeraucap") == []

    def unreachable(*_, **__):
        raise OSError("no route to host")

    hub.clear()
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(zscap.MissingWeights, match=r"laion/clap-htsat-unfused .*no route to host.*check the network"):
        presets.fetch("zeraucap")


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
