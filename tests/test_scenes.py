"""Pictures and clips, rendered and as files, through the scene matcher and the whole loop."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import zscap
from zscap.errors import MissingWeights
from zscap.folders import ASSETS, REPOSITORY
from zscap.matchers.scenes import SceneMatcher
from zscap.sources import read_frames

DATA = REPOSITORY / "data"
sys.path.insert(0, str(DATA))

import render_scenes  # noqa: E402
from render_scenes import COLOURS, MOTIONS, SHAPES, Thing, captions  # noqa: E402

TABLE = pd.read_csv(DATA / "scenes" / "captions.csv")
SCENES = [DATA / "scenes" / file for file in TABLE["file"]]
ALONE = [file for file in SCENES if file.suffix == ".png" and "+" not in file.name]
CLIPS = [file for file in SCENES if file.suffix == ".mp4"]


def parts(file):
    return render_scenes.parse(file.stem.rsplit("-", 1)[0])


def pixels(file):
    return np.stack([np.asarray(frame, dtype=float) for frame in read_frames(file, 24)])


@pytest.fixture(scope="module")
def matcher():
    return SceneMatcher.load(ASSETS)


def test_the_script_renders_the_same_scenes_again_and_their_captions_tell_them(tmp_path):
    for file, frames in render_scenes.files():
        assert len(frames) == (1 if file.endswith(".png") else 24)
        render_scenes.write(tmp_path / file, frames)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(TABLE["file"])
    for stored, texts in zip(SCENES, TABLE.filter(like="caption_").itertuples(index=False), strict=True):
        assert np.abs(pixels(stored) - pixels(tmp_path / stored.name)).max() <= 2
        things, motion = parts(stored)
        assert texts[0] in captions(things, motion)
        assert all(thing.colour in text and thing.shape in text for text in texts for thing in things)


def test_new_pictures_are_nearest_to_their_captions(matcher):
    """Of 64 captions; training showed none of these eight shapes in this colour. By chance one in 64 would be right."""
    things = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]
    shown = [parts(file)[0][0] for file in ALONE[:8] for _ in range(8)]
    pictures = [render_scenes.render("_".join(thing), 200 + seed)[0] for seed, thing in enumerate(shown)]
    centres = matcher.encode_text([captions([thing])[0] for thing in things])
    nearest = [things[k] for k in (matcher.encode_source(pictures).to(centres) @ centres.T).argmax(1).tolist()]
    assert np.mean([found.colour == thing.colour for found, thing in zip(nearest, shown, strict=True)]) > 0.9
    assert np.mean([found == thing for found, thing in zip(nearest, shown, strict=True)]) > 0.5


def test_new_clips_are_nearest_to_their_captions(matcher):
    """Of the eight motions of their things; none was shown with its shape in training."""
    right = []
    for file, source in zip(CLIPS, matcher.encode_source(CLIPS), strict=True):
        things, motion = parts(file)
        centres = torch.stack([matcher.encode_text(captions(things, name)).mean(0) for name in MOTIONS])
        right.append(list(MOTIONS)[int((centres @ source.to(centres.dtype)).argmax())] == motion)
    assert np.mean(right) >= 0.75


def test_a_clip_backwards_moves_the_other_way(matcher):
    frames = tuple(read_frames(next(file for file in CLIPS if "_left" in file.name), 24))
    forward, backward = matcher.encode_source([frames, frames[::-1]])
    left, right = matcher.encode_text(["a yellow square moving to the left.", "a yellow square moving to the right."])
    toward = (left - right).to(forward.dtype)
    assert forward @ toward > 0 > backward @ toward


def test_a_picture_is_its_file_and_a_clip_that_stands_still_in_any_company(matcher):
    picture = Image.open(ALONE[0])
    together = matcher.encode_source([ALONE[0], picture, (picture,) * 8, CLIPS[0]])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(together[:3], together[:1].expand(3, -1))
    torch.testing.assert_close(together[3:], matcher.encode_source([str(CLIPS[0])]))


@pytest.mark.timeout(200)
def test_missing_or_damaged_weights_are_named(tmp_path):
    file = tmp_path / "scenes.safetensors"
    with pytest.raises(MissingWeights, match=r"scenes\.safetensors"):
        SceneMatcher.load(tmp_path, text_folder=ASSETS)
    weights = load_file(ASSETS / "scenes.safetensors")
    for config in ({"channels": 3}, {"channels": []}, {"channels": [1] * 10**5}, {"features": 10**12}, {"eyes": 2}):
        save_file(weights, file, {"config": json.dumps(config)})
        with pytest.raises(MissingWeights, match=r"scenes\.safetensors: no whole .*; make it with notebook 95"):
            SceneMatcher.load(tmp_path, text_folder=ASSETS)
    file.write_bytes((ASSETS / "scenes.safetensors").read_bytes())
    with pytest.raises(MissingWeights, match=r"matcher\.safetensors"):
        SceneMatcher.load(tmp_path)


def test_captions_name_more_than_the_language_model_alone_would():
    """Of colours and shapes, in pictures and in clips; unguided it writes the same of every scene."""
    captioner = zscap.load("embedded-scenes", max_new_tokens=6)
    files = [*ALONE[:4], *CLIPS[:4]]
    guided = [caption.text for caption in captioner(files)]
    (unguided,) = {caption.text for caption in captioner(files[::4], matching_scale=0.0)}
    for some in (slice(4), slice(4, 8)):
        assert named(files[some], guided[some]) > named(files[some], [unguided] * 4) + 0.2


def named(files, texts):
    """Share of the colours and shapes of the first things that are said."""
    said = [text.rstrip(".").split(" ") for text in texts]
    return np.mean([word in words for file, words in zip(files, said, strict=True) for word in parts(file)[0][0]])
