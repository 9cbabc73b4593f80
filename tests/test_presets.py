"""Presets: what they are made of, what this machine lacks for them, and how that is said."""

import importlib
import shutil
import tomllib

import pytest

import zscap

presets = importlib.import_module("zscap.presets")  # zscap.presets is the function
PRESETS_TOML = presets.PACKAGE / "presets.toml"


def test_embedded_loads_and_takes_changes():
    captioner = zscap.load("embedded", beam_size=2)
    assert captioner.options.beam_size == 2 and captioner.matcher is not None and captioner.classifier is not None
    assert zscap.presets().loc["embedded", "ready"]


def test_audibility_guidance_has_the_published_settings():
    made = tomllib.loads((presets.PACKAGE / "presets.toml").read_text())["audibility-guidance"]
    assert zscap.SteeringOptions(**made["options"]) == zscap.SteeringOptions()
    assert len(made["language_model"]["revision"]) == 40


def test_absent_weights_are_named_with_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(zscap.MissingWeights) as caught:
        zscap.load("audibility-guidance")
    message = str(caught.value)
    for part in (
        "zscap fetch audibility-guidance",
        "1.5 GB",
        "papermill notebooks/02_train_classifier.ipynb",
        "ImageBind in runs/imagebind (4.8 GB",
    ):
        assert part in message
    assert "\n" not in message


def test_imagebind_alone_is_missing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/audibility-distilbert").mkdir(parents=True)
    (tmp_path / "runs/audibility-distilbert/model.safetensors").touch()
    monkeypatch.setattr(presets, "try_to_load_from_cache", lambda *_, **__: "somewhere")
    with pytest.raises(zscap.MissingWeights, match=r"ImageBind .*4\.8 GB, CC-BY-NC-SA 4\.0.*zscap fetch"):
        zscap.load("audibility-guidance")


@pytest.mark.parametrize("file", ["matcher.safetensors", "classifier.safetensors", "language_model/model.safetensors"])
@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_truncated_weights_file_is_named(monkeypatch, tmp_path, file, keep):
    shutil.copytree(presets.PACKAGE / "assets", tmp_path / "assets")
    whole = (tmp_path / "assets" / file).read_bytes()
    (tmp_path / "assets" / file).write_bytes(whole[:keep])
    monkeypatch.setattr(presets, "PACKAGE", tmp_path)
    shutil.copy(PRESETS_TOML, tmp_path / "presets.toml")
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
        presets.PACKAGE.parent / "data" / "soundscapes" / f"{name}.flac"
        for name in ("rain-1", "rooster-2", "clock_tick-1")
    ]
    captioner = zscap.load("embedded")
    together = captioner(clips)
    for caption, word in zip(together, ("rain", "crow", "clock"), strict=True):
        assert word in caption.text
    assert [captioner(clip).tokens for clip in clips] == [caption.tokens for caption in together]
    alone = captioner(clips, num_iterations=0)
    assert len({caption.text for caption in alone}) == 1 and alone[0].classifier < 0.3  # it hears nothing by itself
