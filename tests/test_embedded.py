import json
import shutil
from functools import partial
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer

from studies.phrases import CLASS_PHRASES
from zscap.errors import MissingWeights
from zscap.files.packed import write_packed
from zscap.folders import ASSETS, REPOSITORY
from zscap.matchers import tower
from zscap.matchers.embedded import AudioEncoder, EmbeddedMatcher
from zscap.matchers.tower import TextTower, trees

TOWER = {"vocabulary": 8192, "token_width": 16, "width": 32, "layers": 2, "heads": 2, "hidden": 48, "dimensions": 24}
ENCODER = {"channels": (4, 8, 8), "bands": 64, "dimensions": 24}
CONFIG = {"tower": TOWER, "encoder": ENCODER}
TEXTS = ["a dog", "a dog barks.", "a dog barks at a man", "a", "rain", "rain falls.", "a dog", "", "sea waves"]


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


def test_trees_of_texts_give_what_each_text_gives_alone(tiny, monkeypatch):
    alone = torch.empty(len(TEXTS), TOWER["dimensions"])
    for row, text in enumerate(TEXTS):
        ids = tiny.tokenizer(text).input_ids or [tiny.tokenizer.eos_token_id]
        causal = torch.ones(1, len(ids), len(ids), dtype=torch.bool).tril()
        tokens, positions, end = torch.tensor([ids]), torch.arange(len(ids))[None], torch.tensor([[len(ids) - 1]])
        alone[row] = tiny.tower(tokens, positions, causal, end)
    torch.testing.assert_close(tiny.encode_text(TEXTS), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.norm(dim=-1), torch.ones(len(TEXTS)))
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    monkeypatch.setattr(tower, "trees", partial(trees, nodes=9))
    torch.testing.assert_close(tiny.embed(TEXTS[::-1]).flip(0), alone, atol=1e-5, rtol=0)


def test_trees_hold_each_beginning_once():
    ids = [[7, 3, 9, last, 99] for last in range(20)]
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


@pytest.mark.parametrize("seconds", [0.1, 0.9, 7.3])
def test_any_duration_gives_one_embedding_whatever_its_loudness(tiny, seconds):
    sound = np.random.default_rng(0).standard_normal(round(22_050 * seconds)).astype(np.float32) / 10
    loud, again, quiet = tiny.encode_source([(sound, 22_050), (sound, 22_050), (sound / 30, 22_050)])
    assert loud.norm().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(loud, again)
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)


@pytest.fixture
def folder(tiny, tokenizer, tmp_path):
    """A whole matcher with what can be damaged."""
    both = nn.ModuleDict({"tower": tiny.tower, "encoder": tiny.encoder})
    write_packed(tmp_path / "matcher.safetensors", both, CONFIG)
    tokenizer.save_pretrained(tmp_path / "language_model")
    return tmp_path


def test_weights_survive_the_file(tiny, folder):
    again = EmbeddedMatcher.load(folder)
    assert not any(buffer.is_meta for buffer in again.encoder.buffers())
    assert {p.dtype for p in again.tower.parameters()} == {torch.float64}
    assert not any(p.requires_grad for network in (again.tower, again.encoder) for p in network.parameters())
    torch.testing.assert_close(again.encode_text(TEXTS), tiny.encode_text(TEXTS), atol=5e-3, rtol=0)


def refused(folder, says):
    with pytest.raises(MissingWeights, match=rf"matcher\.safetensors: no whole .*{says}.*; make it with notebooks 91"):
        EmbeddedMatcher.load(folder)


def test_missing_or_cut_off_weights_are_named(folder):
    whole = (folder / "matcher.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"words"):
        (folder / "matcher.safetensors").write_bytes(content)
        refused(folder, "")
    (folder / "matcher.safetensors").unlink()
    refused(folder, "No such file")


@pytest.mark.timeout(200)
def test_metadata_that_are_wrong_are_refused_at_once(folder):
    weights = load_file(folder / "matcher.safetensors")
    configs = [[], {"tower": TOWER}, {"tower": TOWER, "encoder": None}]
    for wrong in ({"ears": 2}, {"width": 64}, {"width": "wide"}, {"heads": 0}, {"heads": 3}):
        configs.append({"tower": TOWER | wrong, "encoder": ENCODER})
    for huge in ({"layers": 10**9}, {"vocabulary": 10**12}):
        configs.append({"tower": TOWER | huge, "encoder": ENCODER})
    for wrong in ({"channels": []}, {"channels": [1] * 10**5}, {"bands": 10**9}, {"bands": 10**30}):
        configs.append({"tower": TOWER, "encoder": ENCODER | wrong})
    for metadata in (None, *({"config": json.dumps(config)} for config in configs)):
        save_file(weights, folder / "matcher.safetensors", metadata)
        refused(folder, "")


def test_weights_of_another_precision_or_none_are_refused(folder):
    weights = load_file(folder / "matcher.safetensors")
    bias = weights["tower.norm.bias"]
    for damaged, says in (
        (bias.index_fill(0, torch.tensor([3]), torch.nan), "holds a number that is not finite"),
        (bias.double(), "float64.*; must be float16"),
        (bias.to(torch.int8), "bias has whole numbers without a scale"),
    ):
        weights["tower.norm.bias"] = damaged
        save_file(weights, folder / "matcher.safetensors", {"config": json.dumps(CONFIG)})
        refused(folder, says)


def test_a_tokenizer_that_is_absent_damaged_or_another_is_named(folder):
    file = folder / "language_model" / "tokenizer.json"
    whole = file.read_text()
    more = json.loads(whole)
    more["added_tokens"].append(more["added_tokens"][0] | {"id": 8192, "content": "<more>"})
    for content in (whole[: len(whole) // 2], "", "[1]", "{}", json.dumps(more), None):
        if content is None:
            shutil.rmtree(folder / "language_model")
        else:
            file.write_text(content)
        with pytest.raises(MissingWeights, match=r"language_model/tokenizer\.json: no whole tokenizer"):
            EmbeddedMatcher.load(folder)


def test_words_that_mean_the_same_are_near(matcher):
    texts = ["a dog barks.", "barking of a puppy", "rain falls on a roof.", "a man in a red shirt."]
    dog, puppy, rain, photo = matcher.encode_text(texts)
    assert dog @ puppy > 0.6
    assert max(dog @ rain, dog @ photo, rain @ photo) < 0.4


def test_rendered_clips_are_nearest_to_their_captions(matcher):
    """No network has heard them; twenty clips by chance would give one in ten."""
    names = sorted(CLASS_PHRASES)
    soundscapes = REPOSITORY / "data" / "soundscapes"
    files = [file for name in names for file in sorted(soundscapes.glob(f"{name}-*.flac"))[:2]]
    centres = torch.stack([matcher.encode_text(CLASS_PHRASES[name].split("|")).mean(0) for name in names])
    nearest = (matcher.encode_source(files) @ centres.T).argmax(1).tolist()
    assert np.mean([file.name.startswith(names[k]) for k, file in zip(nearest, files, strict=True)]) >= 0.8
