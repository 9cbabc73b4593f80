from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoTokenizer

import zscap
from zscap.data import CLASS_PHRASES
from zscap.errors import MissingWeights, UnreadableSource
from zscap.matchers import embedded
from zscap.matchers.embedded import AudioEncoder, EmbeddedMatcher, TextTower, save_matcher
from zscap.matchers.trees import trees

ASSETS = Path(zscap.__file__).parent / "assets"
SOUNDSCAPES = ASSETS.parents[1] / "data" / "soundscapes"
TOWER = {"vocabulary": 8192, "token_width": 16, "width": 32, "layers": 2, "heads": 2, "hidden": 48, "dimensions": 24}
ENCODER = {"channels": (4, 8, 8), "bands": 64, "dimensions": 24}
TEXTS = [
    "a dog",
    "a dog barks.",
    "a dog barks at a man",
    "a",
    "rain",
    "rain falls on a roof.",
    "a dog",
    "",
    "sea waves",
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ASSETS / "language_model")


@pytest.fixture
def tiny(tokenizer):
    torch.manual_seed(0)
    return EmbeddedMatcher(TextTower(**TOWER), AudioEncoder(**ENCODER), tokenizer)


@pytest.fixture(scope="module")
def matcher():
    return EmbeddedMatcher.load(ASSETS)


def one_by_one(matcher, text):
    ids = matcher.tokenizer(text).input_ids or [matcher.tokenizer.eos_token_id]
    causal = torch.ones(1, len(ids), len(ids), dtype=torch.bool).tril()
    tokens, positions = torch.tensor([ids]), torch.arange(len(ids))[None]
    return matcher.tower(tokens, positions, causal, torch.tensor([[len(ids) - 1]]))[0, 0]


def test_a_tree_of_texts_gives_what_each_text_gives_alone(tiny):
    together = tiny.encode_text(TEXTS)
    torch.testing.assert_close(together, torch.stack([one_by_one(tiny, text) for text in TEXTS]), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(TEXTS)))
    assert torch.equal(together[0], together[6])
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_texts_do_not_depend_on_their_company(tiny, monkeypatch):
    together = tiny.encode_text(TEXTS)
    monkeypatch.setattr(embedded, "trees", partial(trees, nodes=9))
    torch.testing.assert_close(tiny.encode_text(TEXTS[::-1]).flip(0), together, atol=1e-5, rtol=0)


def test_a_shared_beginning_is_one_branch(tokenizer):
    beginning = tokenizer("a dog is barking in the").input_ids
    (rows, tokens, positions, ancestors, ends), *more = trees([[*beginning, last] for last in range(1000, 1200)])
    assert not more and sorted(rows) == list(range(200))
    assert tokens.shape == (1, len(beginning) + 200)
    assert (positions[0, ends[0]] == len(beginning)).all() and ancestors[0, ends[0]].sum(-1).eq(
        len(beginning) + 1
    ).all()


def test_the_last_answer_is_remembered_and_safe(tiny, monkeypatch):
    first = tiny.encode_text(TEXTS)
    expected = first.clone()
    first.zero_()
    monkeypatch.setattr(tiny, "tower", None)
    assert torch.equal(tiny.encode_text(TEXTS), expected)


@pytest.mark.parametrize("seconds", [0.1, 0.9, 5.0, 7.3])
def test_any_duration_gives_one_embedding_whatever_its_loudness(tiny, seconds):
    sound = np.random.default_rng(0).standard_normal(round(22_050 * seconds)).astype(np.float32) / 10
    loud, again, quiet = tiny.encode_source([(sound, 22_050), (sound, 22_050), (sound / 30, 22_050)])
    assert loud.norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(loud, again)
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)


def test_a_long_recording_is_the_mean_of_its_windows(tiny):
    sound = np.random.default_rng(0).standard_normal(5 * 32_000).astype(np.float32) / 10
    once, thrice = tiny.encode_source([(sound, 32_000), (np.tile(sound, 3), 32_000)])
    torch.testing.assert_close(once, thrice, atol=1e-5, rtol=0)


def test_a_recording_that_cannot_be_read_is_named(tiny, tmp_path):
    with pytest.raises(UnreadableSource, match=r"nothing\.wav"):
        tiny.encode_source([tmp_path / "nothing.wav"])


def test_weights_survive_the_file(tiny, tokenizer, tmp_path):
    save_matcher(tmp_path / "matcher.safetensors", tiny.tower, tiny.encoder, {"tower": TOWER, "encoder": ENCODER})
    tokenizer.save_pretrained(tmp_path / "language_model")
    again = EmbeddedMatcher.load(tmp_path)
    assert {p.dtype for p in again.tower.parameters()} == {torch.float64}
    assert not any(p.requires_grad for network in (again.tower, again.encoder) for p in network.parameters())
    torch.testing.assert_close(again.encode_text(TEXTS), tiny.encode_text(TEXTS), atol=5e-3, rtol=0)


def test_missing_or_cut_off_weights_are_named(tmp_path):
    with pytest.raises(MissingWeights, match=r"matcher\.safetensors"):
        EmbeddedMatcher.load(tmp_path)
    whole = (ASSETS / "matcher.safetensors").read_bytes()
    (tmp_path / "matcher.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MissingWeights, match=r"matcher\.safetensors"):
        EmbeddedMatcher.load(tmp_path)


def test_words_that_mean_the_same_are_near(matcher):
    dog, puppy, rain, photo = matcher.encode_text(
        ["a dog barks.", "barking of a puppy", "rain falls on a roof.", "a man in a red shirt."]
    )
    assert dog @ puppy > 0.6
    assert max(dog @ rain, dog @ photo, rain @ photo) < 0.4


def test_rendered_clips_are_nearest_to_their_captions(matcher):
    """No network has heard them; twenty clips by chance would give one in ten."""
    files = [file for name in sorted(CLASS_PHRASES) for file in sorted(SOUNDSCAPES.glob(f"{name}-*.flac"))[:2]]
    if not files:
        pytest.skip("data/soundscapes is not rendered")
    names = [file.stem.split("-")[0] for file in files]
    centres = torch.stack(
        [matcher.encode_text(phrases.split("|")).mean(0) for _, phrases in sorted(CLASS_PHRASES.items())]
    )
    nearest = (matcher.encode_source(files) @ centres.T).argmax(1).tolist()
    right = np.mean([sorted(CLASS_PHRASES)[k] == name for k, name in zip(nearest, names, strict=True)])
    assert right >= 0.8


def test_a_file_and_its_samples_are_the_same(tiny, tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    from_file, from_samples = tiny.encode_source([tmp_path / "a.wav", (sound, 16_000)])
    assert torch.equal(from_file, from_samples)
