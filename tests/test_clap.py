import json
import shutil

import numpy as np
import pytest
import soundfile
import tiny
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

from zscap.errors import MissingWeights
from zscap.matchers import clap, parts
from zscap.matchers.clap import CLAP

RATE = 48_000
DIMENSIONS = 16
EMBEDDING_1E5 = {"atol": 1e-5, "rtol": 0}
TEXTS = ["a dog", "a dog barks at a cat in the garden", "rain", "", "a dog", "an engine runs", "a bell"]


def write(folder, fused: bool):
    """A tiny CLAP of the real classes, which hears 64 mel bands of ten seconds as the real one does."""
    torch.manual_seed(0)
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
    tokenizer = tiny.trained(RobertaTokenizer(special, [], model_max_length=512))
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 34, **ends, **tower}
    text["initializer_factor"] = 20.0  # large enough for words to matter
    layers = {"hidden_size": 16, "depths": [1, 1], "num_hidden_layers": 2, "num_attention_heads": [2, 2]}
    fusion = {"enable_fusion": fused, "fusion_type": "aff_2d" if fused else None}
    audio = {"patch_embeds_hidden_size": 8, **layers, **fusion}
    config = ClapConfig(text_config=text, audio_config=audio, projection_dim=DIMENSIONS)
    ClapModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clap"), fused=False)


@pytest.fixture(scope="module")
def matcher(folder):
    return CLAP.load(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def either(request, matcher, tmp_path_factory):
    return CLAP.load(write(tmp_path_factory.mktemp("fused"), fused=True)) if request.param else matcher


def noise(seconds, seed=0):
    """Noise that grows louder, so that each of its windows sounds different."""
    number = round(seconds * RATE)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, number) * np.linspace(0.001, 1, number) ** 2
    return samples.astype(np.float32)


def plain(matcher, samples):
    """What transformers gives for at most ten seconds, for which a feature extractor makes no choice."""
    inputs = matcher.reader(samples, sampling_rate=RATE, return_tensors="pt")
    features = matcher.model.get_audio_features(inputs.input_features, is_longer=torch.zeros(1, 1, dtype=torch.bool))
    return features.pooler_output[0]


@pytest.mark.parametrize(("seconds", "starts"), [(0.2, [0]), (3, [0]), (10, [0]), (25, [0, 7.5, 15])])
def test_a_recording_is_the_mean_of_its_windows_to_its_end(either, tmp_path, seconds, starts):
    samples = noise(seconds)
    windows = [samples[round(start * RATE) : round((start + 10) * RATE)] for start in starts]
    each = torch.stack([plain(either, window) for window in windows])
    expected = torch.nn.functional.normalize(each.mean(0), dim=0)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.random.seed(0)  # the extractor's choices are random
    (first,) = either.encode_source([tmp_path / "a.wav"])
    other, again = either.encode_source([(noise(1), RATE), (samples, RATE)])
    torch.testing.assert_close(first, expected, **EMBEDDING_1E5)
    torch.testing.assert_close(again, expected, **EMBEDDING_1E5)
    assert (again - other).abs().max() > 1e-4 and (len(each) == 1 or (each[0] - each[-1]).abs().max() > 1e-4)


@pytest.mark.parametrize(("length", "number"), [(1, 1), (10, 1), (11, 2), (30, 3), (10_000, clap.MAX_WINDOWS)])
def test_windows_are_whole_and_bounded_in_number(length, number):
    samples = np.arange(length)
    made = parts.windows(samples, 10, clap.MAX_WINDOWS)
    assert len(made) == number and {len(window) for window in made} == {min(length, 10)}
    assert made[0][0] == 0 and made[-1][-1] == length - 1


def test_texts_give_what_transformers_gives_one_by_one(matcher, monkeypatch):
    together = matcher.encode_text(TEXTS)
    for text, embedding in zip(TEXTS, together, strict=True):
        alone = matcher.model.get_text_features(**matcher.tokenizer([text], return_tensors="pt")).pooler_output[0]
        torch.testing.assert_close(embedding, alone, **EMBEDDING_1E5)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(TEXTS)))
    assert (together[0] - together[2]).abs().max() > 1e-2
    monkeypatch.setattr(parts, "BATCH", 1)
    torch.testing.assert_close(matcher.encode_text(TEXTS[::-1]).flip(0), together, **EMBEDDING_1E5)
    assert matcher.encode_text([]).shape == (0, DIMENSIONS)


def test_a_text_is_cut_to_the_towers_context_length(matcher):
    assert matcher.context_length == 34 - matcher.tokenizer.pad_token_id - 1
    long = matcher.encode_text(["rain and " * 100, "rain and " * 200])
    torch.testing.assert_close(long[0], long[1], **EMBEDDING_1E5)


def test_other_precisions_give_nearly_the_same(folder, matcher):
    double = CLAP.load(folder, dtype=torch.float64)
    assert not any(parameter.requires_grad for parameter in double.model.parameters()) and not double.model.training
    sources = [(noise(2), RATE)]
    assert double.encode_source(sources).dtype == double.encode_text(TEXTS).dtype == torch.float32
    torch.testing.assert_close(double.encode_source(sources), matcher.encode_source(sources), **EMBEDDING_1E5)
    torch.testing.assert_close(double.encode_text(TEXTS), matcher.encode_text(TEXTS), **EMBEDDING_1E5)


def test_weights_that_are_not_in_the_cache_are_named():
    with pytest.raises(MissingWeights, match="laion/none: no whole checkpoint of ClapModel") as caught:
        CLAP.load("laion/none", revision="0" * 40)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("audio_config", {"depths": [10**9, 1]}),
        ("audio_config", {"depths": None}),
        ("text_config", {"num_hidden_layers": 10**9}),
        ("text_config", {"pad_token_id": None}),
        ("text_config", {"vocab_size": 4}),
    ],
)
def test_damaged_and_absurd_settings_are_refused_at_once(folder, tmp_path, part, changes):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {part: config[part] | changes}))
    with pytest.raises(MissingWeights, match=r"no whole (checkpoint of ClapModel|CLAP) "):
        CLAP.load(tmp_path)
