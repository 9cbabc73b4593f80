"""Pictures and clips, rendered and as files, through the scene matcher and the whole loop."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import zscap
from zscap.errors import MissingWeights
from zscap.files.packed import write_packed
from zscap.matchers.embedded import EmbeddedMatcher
from zscap.matchers.scenes import SceneEncoder, SceneMatcher, as_tensor
from zscap.sources import read_frames

ASSETS = Path(zscap.__file__).parent / "assets"
DATA = ASSETS.parents[1] / "data"
sys.path.insert(0, str(DATA))

import render_scenes  # noqa: E402
from render_scenes import COLOURS, MOTIONS, SHAPES, Thing, captions  # noqa: E402

TABLE = pd.read_csv(DATA / "scenes" / "captions.csv")
SCENES = [DATA / "scenes" / file for file in TABLE["file"]]
ALONE = [file for file in SCENES if file.suffix == ".png" and "+" not in file.name]
CLIPS = [file for file in SCENES if file.suffix == ".mp4"]
OPTIONS = {
    "prompt": "a photo of",
    "prompt_in_text": False,
    "max_new_tokens": 10,
    "num_candidates": 1024,
    "temperature": 0.02,
    "kappa": 0.3,
    "classifier_scale": 0.0,
    "min_p": 0.0005,
}
THINGS = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]


def parts(file):
    things, motion = render_scenes.parse(file.stem.rsplit("-", 1)[0])
    return things[0], motion


def pixels(file):
    return np.stack([np.asarray(frame, dtype=float) for frame in read_frames(file, 24)])


@pytest.fixture(scope="module")
def matcher():
    return SceneMatcher.load(ASSETS)


@pytest.fixture(scope="module")
def captioner(matcher):
    options = zscap.ProximalOptions(**OPTIONS)
    return zscap.Captioner(zscap.load("embedded").language_model, matcher=matcher, options=options)


def test_the_script_renders_the_same_scenes_again(tmp_path):
    for file, frames in render_scenes.files():
        assert len(frames) == (1 if file.endswith(".png") else 24)
        render_scenes.write(tmp_path / file, frames)
    for stored in SCENES:
        assert np.abs(pixels(stored) - pixels(tmp_path / stored.name)).max() <= 2


def test_scenes_are_few_small_and_captioned():
    files = [path for path in (DATA / "scenes").iterdir() if path.suffix in (".png", ".mp4")]
    assert sorted(files) == sorted(SCENES) and sum(path.stat().st_size for path in files) < 3e5
    texts = TABLE.filter(like="caption_")
    assert texts.notna().all(axis=None)
    for file, row in zip(SCENES, texts.itertuples(index=False), strict=True):
        things, motion = render_scenes.parse(file.stem.rsplit("-", 1)[0])
        assert row[0] in captions(things, motion)
        assert all(thing.colour in text and thing.shape in text for text in row for thing in things)


def test_new_pictures_are_nearest_to_their_captions(matcher):
    """Of 64 captions; training showed none of these eight shapes in this colour. By chance one in 64 would be right."""
    shown = [parts(file)[0] for file in ALONE[:8] for _ in range(8)]
    pictures = [render_scenes.render("_".join(thing), 200 + seed)[0] for seed, thing in enumerate(shown)]
    centres = matcher.encode_text([captions([thing])[0] for thing in THINGS])
    nearest = [THINGS[k] for k in (matcher.encode_source(pictures).to(centres) @ centres.T).argmax(1).tolist()]
    assert np.mean([found.colour == thing.colour for found, thing in zip(nearest, shown, strict=True)]) > 0.9
    assert np.mean([found == thing for found, thing in zip(nearest, shown, strict=True)]) > 0.5


def test_new_clips_are_nearest_to_their_captions(matcher):
    """Of the eight motions of their things; none was shown with its shape in training."""
    right = []
    for file, source in zip(CLIPS, matcher.encode_source(CLIPS), strict=True):
        thing, motion = parts(file)
        centres = torch.stack([matcher.encode_text(captions([thing], name)).mean(0) for name in MOTIONS])
        right.append(list(MOTIONS)[int((centres @ source.to(centres.dtype)).argmax())] == motion)
    assert np.mean(right) >= 0.75


def test_a_clip_backwards_moves_the_other_way(matcher):
    frames = tuple(read_frames(next(file for file in CLIPS if "_left" in file.name), 24))
    forward, backward = matcher.encode_source([frames, frames[::-1]])
    left, right = matcher.encode_text(["a yellow square moving to the left.", "a yellow square moving to the right."])
    toward = (left - right).to(forward.dtype)
    assert forward @ toward > 0 > backward @ toward


def test_rows_are_of_unit_norm_and_do_not_depend_on_their_company(matcher):
    together = matcher.encode_source([*ALONE[:3], *CLIPS[:2]])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(together[3:4], matcher.encode_source([str(CLIPS[0])]))


def test_a_picture_is_its_file_and_a_clip_that_stands_still(matcher):
    picture = Image.open(ALONE[0])
    from_file, still, clip = matcher.encode_source([ALONE[0], picture, (picture,) * 8])
    torch.testing.assert_close(from_file, still)
    torch.testing.assert_close(still, clip)


def test_texts_are_those_of_the_embedded_matcher(matcher):
    texts = ["a red ball.", "a dog barks."]
    torch.testing.assert_close(matcher.encode_text(texts), EmbeddedMatcher.load(ASSETS).encode_text(texts))


def test_weights_survive_the_file(matcher, tmp_path):
    config = {"channels": [8, 16], "features": 12, "dimensions": 384}
    torch.manual_seed(0)
    tiny = SceneEncoder(**config).eval()
    write_packed(tmp_path / "scenes.safetensors", tiny, config)
    again = SceneMatcher.load(tmp_path, text_folder=ASSETS).encoder
    frames = as_tensor([Image.open(ALONE[0])])[None]
    torch.testing.assert_close(again(frames), tiny(frames), atol=5e-3, rtol=0)
    assert not any(weight.requires_grad for weight in again.parameters())


@pytest.mark.timeout(200)
def test_missing_or_damaged_weights_are_named(tmp_path):
    with pytest.raises(MissingWeights, match=r"scenes\.safetensors"):
        SceneMatcher.load(tmp_path, text_folder=ASSETS)
    file = tmp_path / "scenes.safetensors"
    whole = (ASSETS / "scenes.safetensors").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MissingWeights, match=r"scenes\.safetensors"):
        SceneMatcher.load(tmp_path, text_folder=ASSETS)
    weights = load_file(ASSETS / "scenes.safetensors")
    for config in ({"channels": 3}, {"channels": []}, {"channels": [1] * 10**5}, {"features": 10**12}, {"eyes": 2}):
        save_file(weights, file, {"config": json.dumps(config)})
        with pytest.raises(MissingWeights, match=r"scenes\.safetensors: no whole .*; make it with notebook 95"):
            SceneMatcher.load(tmp_path, text_folder=ASSETS)
    file.write_bytes(whole)
    with pytest.raises(MissingWeights, match=r"matcher\.safetensors"):
        SceneMatcher.load(tmp_path)


def test_captions_name_more_than_the_language_model_alone_would(captioner):
    """Of colours and shapes, in pictures and in clips; unguided it writes the same of every scene."""
    for files in (ALONE[:4], CLIPS[:4]):
        things = [parts(file)[0] for file in files]
        guided = [caption.text for caption in captioner([str(file) for file in files])]
        alone = [captioner(str(files[0]), matching_scale=0.0).text] * len(files)
        assert named(things, guided) > named(things, alone) + 0.3


def named(things, texts):
    """Share of the things' colours and shapes that are said."""
    said = [text.rstrip(".").split(" ") for text in texts]
    return np.mean([word in words for thing, words in zip(things, said, strict=True) for word in thing])
