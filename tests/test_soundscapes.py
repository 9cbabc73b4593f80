"""The rendered clips: whole, small, captioned, and made again by their scripts."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import soundfile

DATA = Path(__file__).parent.parent / "data"
sys.path.insert(0, str(DATA))

import render_sounds  # noqa: E402
import render_soundscapes  # noqa: E402

TABLE = pd.read_csv(DATA / "soundscapes.csv")
SCENES, SOUNDS = ({path.stem: path for path in (DATA / folder).iterdir()} for folder in ("soundscapes", "sounds"))


def test_every_clip_has_five_captions_of_its_own():
    assert sorted(TABLE["file"]) == sorted(path.name for path in SCENES.values())
    assert len(TABLE) >= 60 and TABLE["sounds"].str.contains("+", regex=False).sum() >= 20
    captions = TABLE.filter(like="caption_").stack()
    assert len(captions) == 5 * len(TABLE) and captions.is_unique
    assert SOUNDS.keys() == render_sounds.SOUNDS.keys() and len(SOUNDS) >= 12
    assert sum(path.stat().st_size for path in [*SCENES.values(), *SOUNDS.values()]) <= 10e6


@pytest.mark.parametrize("name", ["clock_tick-1", "rooster-2", "dog_bark+rain-3", "siren", "footsteps", "frog"])
def test_the_scripts_render_the_same_clips_again(name):
    if name in SOUNDS:
        stored, again = SOUNDS[name], render_sounds.render(name)
    else:
        sounds, seed = name.rsplit("-", 1)
        stored, again = SCENES[name], render_soundscapes.render(sounds, int(seed))
    assert soundfile.read(stored)[0] == pytest.approx(again, abs=2 / 32768)
