"""Presets: what they are made of, what this machine lacks for them, and how that is said."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

import zscap
from zscap.preset import load as presets
from zscap.preset import places as weights

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
            if isinstance(part.weights, weights.Hub):
                assert len(part.weights.revision) == 40


def test_absent_weights_are_named_with_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(zscap.MissingWeights) as caught:
        zscap.load("audibility-guidance")
    message = str(caught.value)
    for part in (
        "zscap fetch audibility-guidance",
        "1.5 GB",
        "papermill notebooks/02_train_classifier.ipynb",
        "imagebind_huge.pth",
        "runs/imagebind (4.8 GB, CC-BY-NC-SA 4.0)",
    ):
        assert part in message
    assert "\n" not in message


def test_imagebind_alone_is_missing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/audibility-distilbert").mkdir(parents=True)
    (tmp_path / "runs/audibility-distilbert/model.safetensors").touch()
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_, **__: "somewhere")
    with pytest.raises(zscap.MissingWeights, match=r"lacks imagebind.*4\.8 GB, CC-BY-NC-SA 4\.0.*zscap fetch"):
        zscap.load("audibility-guidance")


@pytest.mark.parametrize("file", ["matcher.safetensors", "classifier.safetensors", "language_model/model.safetensors"])
@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_truncated_weights_file_is_named(monkeypatch, tmp_path, file, keep):
    shutil.copytree(weights.PACKAGE / "assets", tmp_path / "assets")
    whole = (tmp_path / "assets" / file).read_bytes()
    (tmp_path / "assets" / file).write_bytes(whole[:keep])
    monkeypatch.setattr(weights, "PACKAGE", tmp_path)
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
        weights.PACKAGE.parent / "data" / "soundscapes" / f"{name}.flac"
        for name in ("rain-1", "rooster-2", "clock_tick-1")
    ]
    captioner = zscap.load("embedded")
    together = captioner(clips)
    for caption, word in zip(together, ("rain", "crow", "clock"), strict=True):
        assert word in caption.text
    assert [captioner(clip).tokens for clip in clips] == [caption.tokens for caption in together]
    alone = captioner(clips, num_iterations=0)
    assert len({caption.text for caption in alone}) == 1 and alone[0].classifier < 0.3  # it hears nothing by itself


@pytest.mark.parametrize("preset", [name for name in TABLE if not name.startswith("embedded")])
def test_every_preset_without_its_weights_says_so_in_one_line(monkeypatch, tmp_path, preset):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(zscap.MissingWeights, match=r"lacks .*\d GB, .*run `zscap fetch") as caught:
        zscap.load(preset)
    assert "\n" not in str(caught.value)
    row = zscap.presets().loc[preset]
    assert not row.ready and row.missing in str(caught.value)
    for fetched in presets.downloads(preset):
        assert fetched.told in str(caught.value) and fetched.gigabytes > 0.1


def test_what_is_missing_is_said_before_anything_slow_is_imported(tmp_path):
    code = """
import sys, zscap
try:
    zscap.load("zeraucap")
except zscap.MissingWeights as error:
    print(error)
print("torch" in sys.modules, "transformers" in sys.modules, zscap.Captioner.__name__)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(weights.PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "zscap fetch zeraucap" in done.stdout and done.stdout.splitlines()[-1] == "False False Captioner"


def test_fetch_downloads_what_is_missing_at_the_pinned_commit(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cached, asked = set(), []

    def snapshot(path, revision, allow_patterns):
        asked.append((path, revision, allow_patterns[-1]))
        cached.add(path)

    monkeypatch.setattr(weights, "snapshot_download", snapshot)
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda path, *_, **__: path if path in cached else None)
    presets.fetch("zeraucap")
    parts = presets.about("zeraucap").parts
    assert asked == [
        (part.weights.path, part.weights.revision, part.weights.file)
        for part in (parts["matcher"], parts["language_model"])
    ]
    assert presets.downloads("zeraucap") == []

    def unreachable(*_, **__):
        raise OSError("no route to host")

    cached.clear()
    monkeypatch.setattr(weights, "snapshot_download", unreachable)
    with pytest.raises(zscap.MissingWeights, match=r"laion/clap-htsat-unfused .*no route to host.*check the network"):
        presets.fetch("zeraucap")


def test_audiosets_names_are_the_keywords_where_they_lie(monkeypatch, tmp_path):
    """A preset with keywords, put together from the embedded networks."""
    table = {**TABLE["zeraucap"], "language_model": "embedded", "matcher": "embedded"}
    table["options"] = {**table["options"], "max_length": 40}
    made = presets._read("small", table, TABLE)
    monkeypatch.setattr(presets, "_presets", lambda: {"small": made})
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    assert zscap.load("small").options.keywords == ()
    (tmp_path / "audioset").mkdir()
    (tmp_path / "audioset" / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/1,"Rain, Raindrop"\n')
    captioner = zscap.load("small")
    assert captioner.options.keywords == ("Rain", "Raindrop")
    clip = weights.PACKAGE.parent / "data" / "soundscapes" / "rain-1.flac"
    assert captioner(clip).prompt == "Objects: Raindrop, and a Rain. This is a sound of "
