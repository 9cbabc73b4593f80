import gzip
from pathlib import Path

import numpy as np
import pytest
import reference_imagebind as reference
import torch

from zscap.errors import MissingWeights
from zscap.matchers import imagebind
from zscap.matchers.imagebind import ImageBind

MERGES = [
    *[("t", "h"), ("th", "e</w>"), ("d", "o"), ("do", "g</w>"), ("a", "r"), ("b", "ar"), ("k", "s</w>"), ("i", "n")],
    *[("bar", "ks</w>"), ("i", "n</w>"), ("'", "s</w>"), ("r", "a"), ("ra", "in</w>"), ("o", "n</w>"), ("e", "e")],
    ("o", "o"),
]
TEXTS = ["the dog barks", "The dog  barks.", "the dog", "", "the rain's on", "the dog", "rain on 2 bees"]
LONG = "the dog barks on and on and on"
EMBEDDING_1E5 = {"atol": 1e-5, "rtol": 0}


def write_merges(path, merges=MERGES):
    path.write_bytes(gzip.compress(("#version: 0.2\n" + "\n".join(map(" ".join, merges))).encode()))
    return path


def write(folder, tensors=None):
    torch.save(reference.weights() if tensors is None else tensors, folder / "tiny.pth")
    write_merges(folder / imagebind.MERGES_FILE)
    return folder / "tiny.pth"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write(tmp_path_factory.mktemp("imagebind"))


@pytest.fixture(scope="module")
def matcher(checkpoint):
    return ImageBind.load(checkpoint, **reference.SIZES)


@pytest.fixture(scope="module")
def weights():
    return reference.weights()


def noise(seconds, rate=16_000, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def test_texts_give_what_the_architecture_gives_one_by_one(matcher, weights, monkeypatch):
    texts = [*TEXTS, LONG]
    ids = matcher.tokenizer(texts)
    expected = reference.text(weights, ids)
    torch.testing.assert_close(matcher.encode_text(texts), expected, **EMBEDDING_1E5)
    assert (expected[0] - expected[2]).abs().max() > 1e-2
    monkeypatch.setattr(imagebind, "NODES", 5)  # several small trees
    torch.testing.assert_close(matcher.encode_text(texts[::-1]).flip(0), expected, **EMBEDDING_1E5)
    assert matcher.encode_text([]).shape == (0, reference.TEXT["dimensions"])


def test_a_text_that_is_cut_keeps_its_end(matcher):
    cut, whole = matcher.tokenizer([LONG, "the dog barks"])
    assert len(cut) == matcher.text.context_length and cut[0] == 528 and cut[-1] == 529
    assert cut[1:4] == whole[1:4] and len(whole) == 5


# The alphabet is numbered as CLIP's: "!" is 0, "a" is 64, each with </w> 256 further on.
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the dog barks", ["the</w>", "dog</w>", "barks</w>"]),
        ("  The DOG\n\tbarks. ", ["the</w>", "dog</w>", "barks</w>", ".</w>"]),
        ("rain's 42 &amp; \u2019s", ["rain</w>", "'s</w>", "4</w>", "2</w>", "&</w>", "'s</w>"]),
        ("bees!?", ["b", "ee", "s</w>", "!", "?</w>"]),
        ("caf\u00e9 cafe\u0301", ["c", "a", "f", "Ã", "©</w>", "c", "a", "f", "Ã", "©</w>"]),
    ],
)
def test_tokens_are_clips(matcher, text, pieces):
    assert [WORDS[k] for k in matcher.tokenizer([text])[0]] == ["<start>", *pieces, "<end>"]


LETTERS = sorted([chr(k) for k in (*range(33, 127), *range(161, 173), *range(174, 256))])
LETTERS += [chr(256 + k) for k in range(68)]  # bytes that don't print
WORDS = [*LETTERS, *(letter + "</w>" for letter in LETTERS), *map("".join, MERGES), "<start>", "<end>"]


def test_an_end_token_that_is_written_out_ends_the_text(matcher):
    written, plain = matcher.tokenizer(["the dog<|endoftext|> barks", "the dog"])
    assert written == plain


def test_merges_that_are_absent_or_damaged_are_named(tmp_path):
    checkpoint, merges = write(tmp_path), tmp_path / imagebind.MERGES_FILE
    whole = merges.read_bytes()
    plain = gzip.decompress(whole)
    for content in (
        *(b"", b"words", gzip.compress(plain[: len(plain) // 2]), whole[: len(whole) // 2]),
        *(gzip.compress(plain.replace(b"d o\n", other)) for other in (b"dog\n", b"t h\n", b"\xff o\n")),
    ):
        merges.write_bytes(content)
        with pytest.raises(MissingWeights, match=rf"{merges}: no whole file of byte pair merges .*; run `zscap fetch"):
            ImageBind.load(checkpoint, **reference.SIZES)
    merges.unlink()
    with pytest.raises(MissingWeights, match=rf"{merges}: .*No such file"):
        ImageBind.load(checkpoint, **reference.SIZES)


def reference_audio(weights, samples, starts):
    """From samples at 16 kHz, with the official 204 frames."""
    spectrograms = torch.zeros(len(starts), 1, 128, 204)
    for spectrogram, start in zip(spectrograms, starts, strict=True):
        mel = torch.from_numpy(reference.fbank(samples[start : start + 32_000]).T)
        spectrogram[0, :, : mel.shape[1]] = mel
    return reference.audio(weights, (spectrograms + 4.268) / 9.138)


def test_a_sound_gives_what_the_architecture_gives(matcher, weights):
    samples = noise(2.13) * np.linspace(0, 1, 34_080, dtype=np.float32) ** 2
    (embedding,) = matcher.encode_source([(samples, 16_000)])
    torch.testing.assert_close(embedding, reference_audio(weights, samples, [0, 1040, 2080]), atol=2e-3, rtol=0)
    (short,) = matcher.encode_source([(samples[20_000:30_000], 16_000)])
    torch.testing.assert_close(short, reference_audio(weights, samples[20_000:30_000], [0]), atol=2e-3, rtol=0)
    assert (short - embedding).abs().max() > 2e-2
    assert embedding.norm().item() == pytest.approx(1, abs=1e-6)


def test_the_audio_tower_is_exact(matcher, weights):
    spectrograms = torch.randn(3, 1, 128, 204, generator=torch.Generator().manual_seed(1))
    got = torch.nn.functional.normalize(matcher.audio(spectrograms[..., :196]).mean(0), dim=0)
    torch.testing.assert_close(got, reference.audio(weights, spectrograms), **EMBEDDING_1E5)


def test_spectrograms_are_kaldis_and_followed_by_zeros(matcher):
    samples = noise(0.2) + 0.1 * np.sin(np.arange(3200) * 0.3).astype(np.float32) + 0.2
    (ours,) = matcher.audio.spectrograms([samples], sampling_rate=16_000, return_tensors="pt").input_values
    expected = torch.from_numpy(reference.fbank(samples))
    assert ours.shape == (196, 128) and expected.std() > 1
    torch.testing.assert_close(ours[:18] * 9.138 - 4.268, expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(ours[18:], torch.full((178, 128), 4.268 / 9.138))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows what is mapped on Linux only")
def test_tensors_stay_in_the_file(matcher):
    parameters = [value for tower in (matcher.text, matcher.audio) for value in tower.parameters()]
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in parameters)
    lines = Path("/proc/self/maps").read_text().splitlines()
    file = [line.split()[0].split("-") for line in lines if "tiny.pth" in line]
    for parameter in parameters:
        assert any(int(start, 16) <= parameter.data_ptr() < int(end, 16) for start, end in file)


@pytest.mark.parametrize(("dtype", "difference"), [(torch.bfloat16, 0.1), (torch.float64, 1e-5)])
def test_other_precisions_give_nearly_the_same(checkpoint, matcher, dtype, difference):
    other = ImageBind.load(checkpoint, dtype=dtype, **reference.SIZES)
    sounds = [(noise(0.5), 16_000)]
    ours, theirs = (torch.cat([each.encode_text(TEXTS), each.encode_source(sounds)]) for each in (matcher, other))
    assert theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=difference, rtol=0)


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        ("modality_trunks.audio.blocks.1.attn.bias_k", None, r"audio tower .*Missing key.*blocks\.1\.attn\.bias_k"),
        ("modality_trunks.text.gain", torch.ones(1), r"text tower .*Unexpected key.*gain"),
        ("modality_trunks.text.blocks.1.norm_1.bias", torch.ones(3), r"text tower .*blocks\.1\.norm_1\.bias"),
        ("modality_trunks.text.blocks.1000000000000.norm_1.bias", torch.ones(16), "text tower .*Unexpected key"),
        ("modality_heads.audio.2.weight", torch.ones(7, 12), r"audio tower .*head\.2\.weight"),
        ("modality_heads.audio.2.weight", torch.ones(1).expand(10**9, 12), r"audio tower .*head\.2\.weight"),
    ],
)
def test_tensors_of_another_network_are_named(tmp_path, name, tensor, says):
    tensors = reference.weights() | {name: tensor}
    checkpoint = write(tmp_path, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    with pytest.raises(MissingWeights, match=rf"tiny\.pth: no whole {says}"):
        ImageBind.load(checkpoint, **reference.SIZES)


def test_files_that_are_no_checkpoint_are_named(checkpoint, tmp_path):
    with pytest.raises(MissingWeights, match=r"none\.pth: no .* \(No such file.*\); run `zscap fetch .*4\.8 GB, CC-BY"):
        ImageBind.load(tmp_path / "none.pth")
    whole = checkpoint.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"words"):
        (tmp_path / "cut.pth").write_bytes(content)
        with pytest.raises(MissingWeights, match=r"cut\.pth: no whole checkpoint"):
            ImageBind.load(tmp_path / "cut.pth")
    head = "modality_heads.text.proj.1.weight"
    for tensors in ({"weights": {"a": torch.ones(1)}}, {0: 1}, [torch.ones(1)], {head: 1}):
        with pytest.raises(MissingWeights, match=r"tiny\.pth: no whole text tower"):
            ImageBind.load(write(tmp_path, tensors), **reference.SIZES)
