import json
import shutil
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer

import zscap
import zscap.matchers
from studies.phrases import CLASS_PHRASES
from zscap.errors import MissingWeights
from zscap.files.packed import write_packed
from zscap.matchers import tower
from zscap.matchers.embedded import AudioEncoder, EmbeddedMatcher
from zscap.matchers.tower import TextTower, TowerTexts, trees

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
    torch.testing.assert_close(together[0], together[6], atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_texts_do_not_depend_on_their_company(tiny, monkeypatch):
    together = tiny.encode_text(TEXTS)
    monkeypatch.setattr(tower, "trees", partial(trees, nodes=9))
    torch.testing.assert_close(tiny.encode_text(TEXTS[::-1]).flip(0), together, atol=1e-5, rtol=0)


def test_trees_hold_each_beginning_once():
    beginning = [7, 3, 9]
    ids = [[*beginning, last, 99] for last in range(20)]
    (rows, tokens, positions, ancestors, ends), *more = trees(ids)
    assert not more and sorted(rows) == list(range(20)) and tokens.shape == (1, 3 + 2 * 20)
    for row, end in zip(rows, ends[0], strict=True):
        path = ancestors[0, end]
        assert tokens[0, path].tolist() == ids[row] and positions[0, path].tolist() == list(range(5))
    sizes = [tokens.shape[1] for _, tokens, *_ in trees(ids, nodes=10)]
    assert sizes == [9, 9, 9, 9, 9, 9, 7]  # three texts each
    assert [tokens.shape[1] for _, tokens, *_ in trees(ids, nodes=1)] == [5] * 20
    assert list(trees([])) == []


def test_the_last_answer_is_remembered_and_safe(tiny, monkeypatch):
    first = tiny.encode_text(TEXTS)
    expected = first.clone()
    first.zero_()
    monkeypatch.setattr(tiny, "tower", None)
    assert torch.equal(tiny.encode_text(TEXTS), expected)


def test_threads_do_not_mix_their_texts(tiny):
    others = []

    class Awaited(str):
        """A text that is looked up no sooner than another thread has asked for its own."""

        def __hash__(self):
            while others:
                thread = others.pop()
                thread.start()
                thread.join()
            return super().__hash__()

    text = Awaited("a dog")
    expected = tiny.encode_text([text]).clone()
    others.append(Thread(target=tiny.encode_text, args=(["rain"],)))
    torch.testing.assert_close(tiny.encode_text([text]), expected, atol=1e-5, rtol=0)
    assert not others


def test_a_mean_is_taken_from_what_the_tower_gives(tiny, tokenizer):
    plain = tiny.encode_text(TEXTS)
    mean = plain.mean(0)
    centred = TowerTexts(tiny.tower, tokenizer, mean).encode_text(TEXTS)
    torch.testing.assert_close(centred, torch.nn.functional.normalize(plain - mean, dim=-1))
    assert torch.equal(TowerTexts(tiny.tower, tokenizer).encode_text(TEXTS), plain)


@pytest.mark.parametrize("seconds", [0.1, 0.9, 5.0, 7.3])
def test_any_duration_gives_one_embedding_whatever_its_loudness(tiny, seconds):
    sound = np.random.default_rng(0).standard_normal(round(22_050 * seconds)).astype(np.float32) / 10
    loud, again, quiet = tiny.encode_source([(sound, 22_050), (sound, 22_050), (sound / 30, 22_050)])
    assert loud.norm().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(loud, again)
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)


def test_a_file_and_its_samples_are_the_same(tiny, tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    from_file, from_samples = tiny.encode_source([tmp_path / "a.wav", (sound, 16_000)])
    torch.testing.assert_close(from_file, from_samples)


def test_a_long_recording_is_the_mean_of_its_windows(tiny):
    sound = np.random.default_rng(0).standard_normal(5 * 32_000).astype(np.float32) / 10
    once, thrice = tiny.encode_source([(sound, 32_000), (np.tile(sound, 3), 32_000)])
    torch.testing.assert_close(once, thrice, atol=1e-5, rtol=0)


def test_weights_survive_the_file(tiny, folder):
    again = EmbeddedMatcher.load(folder)
    assert not any(buffer.is_meta for buffer in again.encoder.buffers())
    assert {p.dtype for p in again.tower.parameters()} == {torch.float64}
    assert not any(p.requires_grad for network in (again.tower, again.encoder) for p in network.parameters())
    torch.testing.assert_close(again.encode_text(TEXTS), tiny.encode_text(TEXTS), atol=5e-3, rtol=0)


@pytest.fixture
def folder(tiny, tokenizer, tmp_path):
    """A whole matcher with what can be damaged."""
    both = nn.ModuleDict({"tower": tiny.tower, "encoder": tiny.encoder})
    write_packed(tmp_path / "matcher.safetensors", both, {"tower": TOWER, "encoder": ENCODER})
    tokenizer.save_pretrained(tmp_path / "language_model")
    return tmp_path


def test_missing_or_cut_off_weights_are_named(folder):
    whole = (folder / "matcher.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"words"):
        (folder / "matcher.safetensors").write_bytes(content)
        with pytest.raises(MissingWeights, match=r"matcher\.safetensors: no whole .*; make it with notebooks 91"):
            EmbeddedMatcher.load(folder)
    (folder / "matcher.safetensors").unlink()
    with pytest.raises(MissingWeights, match=r"matcher\.safetensors: no whole .*No such file"):
        EmbeddedMatcher.load(folder)


@pytest.mark.parametrize(
    "config",
    [
        *(None, [], {"tower": TOWER}, {"tower": TOWER, "encoder": None}),
        *({"tower": TOWER | {"ears": 2}}, {"tower": TOWER | {"width": 64}}, {"tower": TOWER | {"width": "wide"}}),
        *({"tower": TOWER | {"heads": heads}} for heads in (0, 3)),
        *({"tower": TOWER | {"layers": 10**9}}, {"tower": TOWER | {"vocabulary": 10**12}}),
        *({"tower": TOWER, "encoder": ENCODER | {"channels": channels}} for channels in ([], [1] * 10**5)),
        *({"tower": TOWER, "encoder": ENCODER | {"bands": bands}} for bands in (10**9, 10**30)),
    ],
    ids=str,
)
@pytest.mark.timeout(200)
def test_metadata_that_are_wrong_are_refused_at_once(folder, config):
    weights = load_file(folder / "matcher.safetensors")
    if isinstance(config, dict) and config["tower"] != TOWER:
        config = config | {"encoder": ENCODER}
    save_file(weights, folder / "matcher.safetensors", None if config is None else {"config": json.dumps(config)})
    with pytest.raises(MissingWeights, match=r"matcher\.safetensors: no whole weights file .*notebooks 91 and 92"):
        EmbeddedMatcher.load(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda weight: weight.index_fill(0, torch.tensor([3]), torch.nan), "holds a number that is not finite"),
        (lambda weight: weight.index_fill(0, torch.tensor([3]), torch.inf), "holds a number that is not finite"),
        (lambda weight: weight.float() * 1e30, "float32.*; must be float16"),
        (lambda weight: weight.to(torch.int8), "int8.*; must be float16"),
    ],
)
def test_weights_that_are_no_numbers_of_half_precision_are_refused(folder, damage, says):
    weights = load_file(folder / "matcher.safetensors")
    weights["tower.norm.bias"] = damage(weights["tower.norm.bias"])
    save_file(weights, folder / "matcher.safetensors", {"config": json.dumps({"tower": TOWER, "encoder": ENCODER})})
    with pytest.raises(MissingWeights, match=rf"matcher\.safetensors: no whole weights file .*{says}"):
        EmbeddedMatcher.load(folder)


def test_a_tokenizer_that_is_absent_damaged_or_another_is_named(folder):
    file = folder / "language_model" / "tokenizer.json"
    whole = file.read_text()
    more = json.loads(whole)
    more["added_tokens"].append(more["added_tokens"][0] | {"id": 8192, "content": "<more>"})
    for content in (whole[: len(whole) // 2], "", "[1]", "{}", json.dumps(more)):
        file.write_text(content)
        with pytest.raises(MissingWeights, match=r"language_model/tokenizer\.json: no whole tokenizer"):
            EmbeddedMatcher.load(folder)
    shutil.rmtree(folder / "language_model")
    with pytest.raises(MissingWeights, match=r"language_model/tokenizer\.json: no whole tokenizer"):
        EmbeddedMatcher.load(folder)


def test_words_that_mean_the_same_are_near(matcher):
    dog, puppy, rain, photo = matcher.encode_text(
        ["a dog barks.", "barking of a puppy", "rain falls on a roof.", "a man in a red shirt."]
    )
    assert dog @ puppy > 0.6
    assert max(dog @ rain, dog @ photo, rain @ photo) < 0.4


def test_rendered_clips_are_nearest_to_their_captions(matcher):
    """No network has heard them; twenty clips by chance would give one in ten."""
    files = [file for name in sorted(CLASS_PHRASES) for file in sorted(SOUNDSCAPES.glob(f"{name}-*.flac"))[:2]]
    names = [file.stem.split("-")[0] for file in files]
    centres = torch.stack(
        [matcher.encode_text(phrases.split("|")).mean(0) for _, phrases in sorted(CLASS_PHRASES.items())]
    )
    nearest = (matcher.encode_source(files) @ centres.T).argmax(1).tolist()
    right = np.mean([sorted(CLASS_PHRASES)[k] == name for k, name in zip(nearest, names, strict=True)])
    assert right >= 0.8
