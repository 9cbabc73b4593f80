import shutil

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from zscap.errors import MissingWeights
from zscap.matchers import clip
from zscap.matchers.clip import CLIP

SIDE = 32
DIMENSIONS = 24
CONTEXT_LENGTH = 24
EMBEDDING_1E5 = {"atol": 1e-5, "rtol": 0}
TEXTS = ["a dog", "a dog barks", "a dog <|endoftext|> barks", "", "rain", "a dog", "water in the garden"]
LONG = "a dog and a cat and a bell and a man and a child and rain and wind and birds"


def write(folder):
    """A tiny CLIP of the real classes."""
    torch.manual_seed(0)
    tokenizer = tiny.trained(CLIPTokenizer(model_max_length=CONTEXT_LENGTH))
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT_LENGTH, **ends, **tower}
    vision = {"image_size": SIDE, "patch_size": 8, **tower}
    for part in (text, vision):
        part["initializer_factor"] = 5.0  # large enough for words and pixels to matter
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIMENSIONS)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    reader = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    reader.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def matcher(folder):
    return CLIP.load(folder)


def image(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def test_texts_give_what_transformers_gives_one_by_one(matcher):
    together = matcher.encode_text([*TEXTS, LONG])
    for text, embedding in zip([*TEXTS, LONG], together, strict=True):
        inputs = matcher.tokenizer([text], truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt")
        alone = torch.nn.functional.normalize(matcher.model.get_text_features(**inputs).pooler_output[0], dim=0)
        torch.testing.assert_close(embedding, alone, **EMBEDDING_1E5)
    assert (together[0] - together[1]).abs().max() > 1e-2
    assert matcher.encode_text([]).shape == (0, DIMENSIONS)


def test_an_image_gives_what_transformers_gives(matcher, tmp_path):
    pictures = [image(40, 56), image(70, 33, seed=1), image(SIDE, SIDE, seed=2)]
    pixels = [matcher.reader(images=picture, return_tensors="pt").pixel_values for picture in pictures]
    expected = matcher.model.get_image_features(torch.cat(pixels)).pooler_output
    together = matcher.encode_source(pictures)
    torch.testing.assert_close(together, torch.nn.functional.normalize(expected, dim=-1), **EMBEDDING_1E5)
    assert (together[0] - together[1]).abs().max() > 1e-2
    pictures[0].save(tmp_path / "a.png")
    torch.testing.assert_close(matcher.encode_source([tmp_path / "a.png"])[0], together[0])


def test_a_video_is_the_mean_of_a_few_of_its_frames(matcher):
    frames = tuple(image(SIDE, SIDE, seed) for seed in range(15))
    (film,) = matcher.encode_source([frames])
    parts = matcher.encode_source(list(frames[::2]))
    assert len(parts) == clip.MAX_FRAMES and (parts - film).abs().amax(-1).min() > 1e-2
    torch.testing.assert_close(film, torch.nn.functional.normalize(parts.mean(0), dim=0), **EMBEDDING_1E5)


def copy(folder, other, *leave):
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns(*leave), dirs_exist_ok=True)
    return other


def test_other_precisions_give_nearly_the_same(folder, matcher):
    double = CLIP.load(folder, dtype=torch.float64).encode_source([image(40, 50)])
    assert double.dtype == torch.float32
    torch.testing.assert_close(double, matcher.encode_source([image(40, 50)]), **EMBEDDING_1E5)


def test_weights_that_are_not_there_are_named(folder, tmp_path):
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        with pytest.raises(MissingWeights, match="no whole checkpoint of CLIPModel"):
            CLIP.load(copy(folder, tmp_path / name.partition(".")[0], name))
    with pytest.raises(MissingWeights, match="its tokenizer has no words"):
        CLIP.load(copy(folder, tmp_path / "tokens", "tokenizer.json", "vocab.json", "merges.txt"))
    weights = load_file(copy(folder, tmp_path / "part") / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, tmp_path / "part" / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeights, match=r"1 weights are missing: text_projection\.weight"):
        CLIP.load(tmp_path / "part")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("config.json", lambda text: text[: len(text) // 2]),
        ("config.json", lambda text: "{}"),
        ("config.json", lambda text: text.replace('"num_attention_heads": 2', '"num_attention_heads": 0')),
        ("tokenizer.json", lambda text: text[: len(text) // 2]),
        ("preprocessor_config.json", lambda text: text[: len(text) // 2]),
        ("model.safetensors", lambda text: ""),
    ],
)
@pytest.mark.timeout(300)
def test_damaged_and_absurd_files_are_refused_at_once(folder, tmp_path, file, damage):
    whole = (copy(folder, tmp_path) / file).read_text(errors="replace")
    assert damage(whole) != whole
    (tmp_path / file).write_text(damage(whole))
    with pytest.raises(MissingWeights, match=r"no whole checkpoint of CLIPModel .*; give a folder"):
        CLIP.load(tmp_path)


def test_weights_of_torch_are_read_as_tensors(folder, matcher, tmp_path):
    copy(folder, tmp_path, "model.safetensors")
    torch.save(matcher.model.state_dict(), tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(CLIP.load(tmp_path).encode_text(TEXTS), matcher.encode_text(TEXTS))
