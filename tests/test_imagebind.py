import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import reference_imagebind as reference
import soundfile
import torch
from PIL import Image
from test_sources import media

from zscap.errors import InvalidData, InvalidOption, MissingWeights, UnreadableSource, ZscapError
from zscap.matchers import imagebind
from zscap.matchers.clip_tokenizer import read_merges
from zscap.matchers.imagebind import ImageBind, TextTower
from zscap.matchers.trees import trees
from zscap.sources import read_audio, read_frames

MERGES = [
    *[("t", "h"), ("th", "e</w>"), ("d", "o"), ("do", "g</w>"), ("a", "r"), ("b", "ar"), ("k", "s</w>"), ("i", "n")],
    *[("bar", "ks</w>"), ("i", "n</w>"), ("'", "s</w>"), ("r", "a"), ("ra", "in</w>"), ("o", "n</w>"), ("e", "e")],
    ("o", "o"),
]
HEADER = "#version: 0.2\n"
TEXTS = [
    "the dog barks",
    "The dog  barks.",
    "the dog",
    "",
    "rain",
    "the rain's on",
    "the dog",
    "a bee",
    "rain on 2 bees",
]
LONG = "the dog barks on and on and on"
HEADS = {f"{kind}_heads": number for kind, number in reference.HEADS.items()}
EMBEDDING_1E5 = {"atol": 1e-5, "rtol": 0}


def write_merges(path, merges=MERGES):
    content = (HEADER + "\n".join(map(" ".join, merges))).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagebind")
    torch.save(reference.weights(), folder / "tiny.pth")
    write_merges(folder / "bpe_simple_vocab_16e6.txt.gz")
    return folder


@pytest.fixture(scope="module")
def matcher(folder):
    return ImageBind.load(folder / "tiny.pth", **HEADS)


@pytest.fixture(scope="module")
def weights():
    return reference.weights()


def noise(seconds, rate=16_000, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def image(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


# Text


def test_texts_give_what_the_architecture_gives_one_by_one(matcher, weights):
    ids = matcher.tokenizer([*TEXTS, LONG])
    assert max(map(len, ids)) == reference.TEXT["context"]
    together = matcher.encode_text([*TEXTS, LONG])
    torch.testing.assert_close(together, reference.text(weights, ids), **EMBEDDING_1E5)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(together)))
    torch.testing.assert_close(together[2], together[6], **EMBEDDING_1E5)
    assert (together[0] - together[2]).abs().max() > 1e-2


def test_shared_beginnings_change_nothing(matcher, monkeypatch):
    together = matcher.encode_text(TEXTS)
    alone = torch.cat([matcher.encode_text([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, **EMBEDDING_1E5)
    monkeypatch.setattr(imagebind, "NODES", 5)  # several small trees
    torch.testing.assert_close(matcher.encode_text(TEXTS[::-1]).flip(0), alone, **EMBEDDING_1E5)
    assert matcher.encode_text([]).shape == (0, reference.TEXT["dimensions"])


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


def test_a_text_that_is_cut_keeps_its_end(matcher):
    (ids,) = matcher.tokenizer([LONG])
    assert len(ids) == matcher.text.context_length and ids[0] == 528 and ids[-1] == 529
    (whole,) = matcher.tokenizer(["the dog barks"])
    assert ids[1:4] == whole[1:4] and len(whole) == 5


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
    letters = sorted([chr(k) for k in (*range(33, 127), *range(161, 173), *range(174, 256))])
    letters += [chr(256 + k) for k in range(68)]  # bytes that don't print
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, MERGES), "<start>", "<end>"]
    assert [words[k] for k in matcher.tokenizer([text])[0]] == ["<start>", *pieces, "<end>"]


def test_any_word_is_merged_as_the_plain_algorithm_does(folder):
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("thedogbarksin"), random.integers(1, 9))) for _ in range(200)]
    tokenizer = read_merges(folder / "bpe_simple_vocab_16e6.txt.gz", 530)
    assert [tokenizer.tokenize(word) for word in words] == [reference.bpe(word, MERGES) for word in words]


def test_an_end_token_that_is_written_out_ends_the_text(matcher):
    first, second = matcher.encode_text(["the dog<|endoftext|> barks", "the dog"])
    torch.testing.assert_close(first, second, **EMBEDDING_1E5)


@pytest.mark.parametrize("name", ["merges.txt", "merges.gz"])
def test_merges_can_be_plain_or_gzipped(folder, matcher, tmp_path, name):
    path = write_merges(tmp_path / name)
    other = ImageBind.load(folder / "tiny.pth", merges=path, **HEADS)
    assert other.tokenizer(TEXTS) == matcher.tokenizer(TEXTS)
    path = write_merges(tmp_path / name, [*MERGES[:-1], (*MERGES[-1], "\n")])  # the last line ends
    assert read_merges(path, 530).get_vocab() == read_merges(folder / "bpe_simple_vocab_16e6.txt.gz", 530).get_vocab()


def test_merges_that_are_absent_or_damaged_are_named(folder, tmp_path):
    with pytest.raises(MissingWeights, match=r"nowhere\.gz: .*No such file.*; give bpe_simple_vocab_16e6.*https://"):
        ImageBind.load(folder / "tiny.pth", merges=tmp_path / "nowhere.gz", **HEADS)
    torch.save(reference.weights(), tmp_path / "tiny.pth")
    with pytest.raises(MissingWeights, match=re.escape(str(tmp_path / "bpe_simple_vocab_16e6.txt.gz"))):
        ImageBind.load(tmp_path / "tiny.pth", **HEADS)
    whole = write_merges(tmp_path / "whole.gz").read_bytes()
    plain = gzip.decompress(whole)
    for content in (
        b"",
        b"words",
        plain[: len(plain) // 2],
        plain.replace(b"d o\n", b"d o g\n"),
        plain.replace(b"d o\n", b"dog\n"),
        plain.replace(b"d o\n", b"t h\n"),
        plain.replace(b"d o\n", b"\xff o\n"),
        plain + b"\nt o",
        gzip.compress(plain[: len(plain) // 2]),
        whole[: len(whole) // 2],
        whole[:20] + b"\x00\x00" + whole[22:],
        gzip.compress(bytes(10**8)),
    ):
        (tmp_path / "damaged").write_bytes(content)
        with pytest.raises(MissingWeights, match=r"damaged: no whole file of byte pair merges .*; give bpe_"):
            read_merges(tmp_path / "damaged", 530)


# Sound


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


def test_fbank_is_kaldis():
    samples = noise(0.2) + 0.1 * np.sin(np.arange(3200) * 0.3).astype(np.float32) + 0.2
    ours = imagebind.fbank(torch.from_numpy(samples))
    expected = torch.from_numpy(reference.fbank(samples).T)
    assert ours.shape == (128, 18)
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=0)
    assert expected.std() > 1


@pytest.mark.parametrize(
    ("length", "starts"), [(32_000, [0]), (20_000, [0]), (32_003, [0, 1, 3]), (160_000, [0, 64_000, 128_000])]
)
def test_clips_are_the_first_middle_and_last_two_seconds(length, starts):
    samples = torch.arange(length)
    made = imagebind.clips(samples)
    assert [clip[0].item() for clip in made] == starts
    assert all(len(clip) == min(length, 32_000) for clip in made)


def test_a_short_sound_is_followed_by_zeros():
    made = imagebind.spectrogram(torch.from_numpy(noise(0.1)), 196)
    assert made.shape == (1, 128, 196)
    torch.testing.assert_close(made[..., 8:], torch.full((1, 128, 188), 4.268 / 9.138))
    assert made[..., :8].std() > 0.1


def test_a_sound_file_and_its_samples_are_the_same(matcher, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1), 16_000, subtype="FLOAT")
    from_file, from_samples = matcher.encode_source([tmp_path / "a.wav", (noise(1), 16_000)])
    torch.testing.assert_close(from_file, from_samples)
    with pytest.raises(UnreadableSource, match=r"nothing\.wav"):
        matcher.encode_source([tmp_path / "nothing.wav"])


# Images and video


def test_an_image_gives_what_the_architecture_gives(matcher, weights):
    side = matcher.vision.side
    assert side == 12
    images = [image(12, 12, seed) for seed in range(2)]
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = np.stack([(np.array(picture) / 255 - mean) / deviation for picture in images])
    expected = reference.vision(weights, torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2))
    embeddings = matcher.encode_source(images)
    torch.testing.assert_close(embeddings, expected, **EMBEDDING_1E5)
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    film = matcher.encode_source([tuple(images)])[0]
    torch.testing.assert_close(film, torch.nn.functional.normalize(expected.mean(0), dim=0), **EMBEDDING_1E5)


def test_of_an_image_the_middle_is_seen_whatever_its_size():
    wide = image(50, 30)
    expected = wide.resize((20, 12), Image.Resampling.BICUBIC).crop((4, 0, 16, 12))
    assert torch.equal(imagebind.pixels(wide, 12), imagebind.pixels(expected, 12))
    high = wide.transpose(Image.Transpose.ROTATE_90)
    assert imagebind.pixels(high, 12).shape == imagebind.pixels(wide.convert("L"), 12).shape == (3, 12, 12)


def test_image_files_and_long_videos(matcher, tmp_path):
    image(30, 20).save(tmp_path / "a.png")
    from_file, from_image = matcher.encode_source([str(tmp_path / "a.png"), image(30, 20)])
    torch.testing.assert_close(from_file, from_image)
    frames = [Image.new("RGB", (12, 12), (k, k, k)) for k in range(100)]
    assert [frame.getpixel((0, 0))[0] for frame in read_frames(frames, imagebind.MAX_FRAMES)] == list(range(0, 100, 11))
    (tmp_path / "b.jpg").write_bytes(b"not an image")
    with pytest.raises(UnreadableSource, match=r"b\.jpg: not readable as an image"):
        matcher.encode_source([tmp_path / "b.jpg"])
    with pytest.raises(UnreadableSource, match=r"c\.png: no such file"):
        matcher.encode_source([tmp_path / "c.png"])
    with pytest.raises(UnreadableSource, match="tuple given as a source"):
        matcher.encode_source([()])


# Checkpoints


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows what is mapped on Linux only")
def test_sizes_come_from_the_tensors_and_tensors_stay_in_the_file(folder, matcher):
    assert len(matcher.text.blocks) == 2 and matcher.text.context_length == 12
    assert matcher.audio.frames == 196 and len(matcher.audio.blocks) == 2
    parameters = [value for tower in (matcher.text, matcher.audio, matcher.vision) for value in tower.parameters()]
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in parameters)
    file = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if "tiny.pth" in line
    ]
    for parameter in parameters:
        assert any(int(start, 16) <= parameter.data_ptr() < int(end, 16) for start, end in file)


def test_other_precisions_give_nearly_the_same(folder, matcher):
    half = ImageBind.load(folder / "tiny.pth", dtype=torch.bfloat16, **HEADS)
    double = ImageBind.load(folder / "tiny.pth", dtype=torch.float64, **HEADS)
    sources = [(noise(0.5), 16_000), image(12, 12)]
    for other, difference in ((half, 0.1), (double, 1e-5)):
        for ours, theirs in (
            (matcher.encode_text(TEXTS), other.encode_text(TEXTS)),
            (matcher.encode_source(sources), other.encode_source(sources)),
        ):
            assert theirs.dtype == torch.float32
            torch.testing.assert_close(ours, theirs, atol=difference, rtol=0)


def load_changed(tmp_path, folder, change):
    tensors = reference.weights()
    change(tensors)
    torch.save(tensors, tmp_path / "changed.pth")
    return ImageBind.load(tmp_path / "changed.pth", merges=folder / "bpe_simple_vocab_16e6.txt.gz", **HEADS)


def test_missing_and_unknown_tensors_are_named(folder, tmp_path):
    def without_vision(tensors):
        for name in [name for name in tensors if ".vision." in name]:
            del tensors[name]

    with pytest.raises(MissingWeights, match=r"changed\.pth: no whole vision tower .*rgbt_stem"):
        load_changed(tmp_path, folder, without_vision)
    name = "modality_trunks.audio.blocks.1.attn.bias_k"
    with pytest.raises(MissingWeights, match=r"no whole audio tower .*Missing key.*blocks\.1\.attn\.bias_k"):
        load_changed(tmp_path, folder, lambda tensors: tensors.pop(name))
    name = "modality_trunks.text.gain"
    with pytest.raises(MissingWeights, match=r"no whole text tower .*Unexpected key.*gain"):
        load_changed(tmp_path, folder, lambda tensors: tensors.update({name: torch.ones(1)}))
    name = "modality_trunks.text.blocks.1.norm_1.bias"
    with pytest.raises(MissingWeights, match=r"no whole text tower .*blocks\.1\.norm_1\.bias"):
        load_changed(tmp_path, folder, lambda tensors: tensors.update({name: torch.ones(3)}))


def test_absurd_depths_and_sizes_are_refused_before_they_are_built(folder, tmp_path):
    name = "modality_trunks.text.blocks.1000000000000.norm_1.bias"
    with pytest.raises(MissingWeights, match="no whole text tower"):
        load_changed(tmp_path, folder, lambda tensors: tensors.update({name: torch.ones(16)}))

    def spread(tensors):  # one number that says it is many: in another precision it would become so many
        for name in ("modality_heads.audio.2.weight", "modality_heads.vision.2.weight"):
            tensors[name] = torch.ones(1).expand(10**9, tensors[name].shape[1])

    with pytest.raises(MissingWeights, match=r"no whole audio tower .*more weights than the file holds"):
        load_changed(tmp_path, folder, spread)


def test_impossible_sizes_are_named(folder, tmp_path):
    for kind, word, positions in (("audio", "a multiple of 12", 228), ("vision", "square", 12)):
        name = f"modality_preprocessors.{kind}.pos_embedding_helper.pos_embed"
        width = reference.weights()[name].shape[-1]
        with pytest.raises(InvalidData, match=word):
            load_changed(
                tmp_path,
                folder,
                lambda tensors, name=name, shape=(1, positions, width): tensors.update({name: torch.ones(shape)}),
            )
    name = "modality_heads.audio.2.weight"
    with pytest.raises(InvalidData, match=r"changed\.pth: its towers embed into \{.*7.*\} dimensions; must be"):
        load_changed(tmp_path, folder, lambda tensors: tensors.update({name: tensors[name][:7].clone()}))
    with pytest.raises(InvalidOption, match="text_heads=5: must divide the text tower's width, 16"):
        ImageBind.load(folder / "tiny.pth", **HEADS | {"text_heads": 5})


def test_files_that_are_no_checkpoint_are_named(folder, tmp_path):
    with pytest.raises(MissingWeights, match=r"none\.pth: no .* \(No such file.*\); fetch https.*4\.8 GB, CC-BY"):
        ImageBind.load(tmp_path / "none.pth")
    whole = (folder / "tiny.pth").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"words"):
        (tmp_path / "cut.pth").write_bytes(content)
        with pytest.raises(MissingWeights, match=r"cut\.pth: no whole checkpoint"):
            ImageBind.load(tmp_path / "cut.pth")
    for tensors in (
        {"weights": {"a": torch.ones(1)}},
        {0: 1},
        [torch.ones(1)],
        {"modality_heads.text.proj.1.weight": 1},
    ):
        torch.save(tensors, tmp_path / "other.pth")
        with pytest.raises(MissingWeights, match=r"other\.pth: no whole text tower"):
            ImageBind.load(tmp_path / "other.pth")


def test_a_text_tower_alone_is_enough_for_texts():
    tower = TextTower(vocabulary=50, context_length=9, width=8, layers=1, heads=2, hidden=16, dimensions=6)
    matcher = ImageBind(text=tower, tokenizer=lambda texts: [[48, *map(len, text.split()), 49] for text in texts])
    embeddings = matcher.encode_text(["a dog", "a big dog"])
    assert embeddings.shape == (2, 6) and (embeddings[0] - embeddings[1]).abs().max() > 1e-4
    for source, kind in (((noise(1), 16_000), "audio"), (image(9, 9), "vision")):
        with pytest.raises(ZscapError, match=f"no {kind} tower"):
            matcher.encode_source([source])


def test_a_video_is_heard_where_no_tower_sees(folder, matcher, tmp_path):
    film = media(tmp_path / "film.mp4", noise(2.5)[None], 16_000, frames=5)
    deaf, blind = matcher, ImageBind.load(folder / "tiny.pth", **HEADS, vision=False)
    (seen,), (heard,) = deaf.encode_source([film]), blind.encode_source([film])
    samples = read_audio(film, 16_000, channel=0)
    torch.testing.assert_close(heard, blind.encode_source([(samples, 16_000)])[0], **EMBEDDING_1E5)
    assert (seen - heard).abs().max() > 1e-3
    with pytest.raises(MissingWeights, match="this ImageBind has no vision tower"):
        blind.encode_source([image(40, 30)])
