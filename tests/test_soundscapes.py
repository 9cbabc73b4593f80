"""The rendered clips: whole, small, captioned, and made again by their script."""

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


def test_every_clip_has_five_captions_of_its_own():
    assert sorted(TABLE["file"]) == sorted(path.name for path in (DATA / "soundscapes").iterdir())
    assert len(TABLE) >= 60 and TABLE["sounds"].str.contains("+", regex=False).sum() >= 20
    captions = TABLE.filter(like="caption_").stack()
    assert len(captions) == 5 * len(TABLE) and captions.is_unique
    assert sum(path.stat().st_size for path in (DATA / "soundscapes").iterdir()) <= 8e6


def test_the_script_renders_the_same_clips_again(tmp_path):
    for name in ("clock_tick", "rooster", "dog_bark+rain"):
        stored = DATA / "soundscapes" / TABLE.loc[TABLE["sounds"] == name, "file"].iloc[0]
        seed = int(stored.stem.split("-")[1])
        soundfile.write(tmp_path / "again.flac", render_soundscapes.render(name, seed), 16_000, subtype="PCM_16")
        assert soundfile.read(tmp_path / "again.flac")[0] == pytest.approx(soundfile.read(stored)[0], abs=2 / 32768)


def test_the_other_sounds_are_rendered_again_by_their_script():
    stored = {path.stem: path for path in (DATA / "sounds").iterdir()}
    assert stored.keys() == render_sounds.SOUNDS.keys() and len(stored) >= 12
    for name in ("siren", "footsteps", "frog"):
        assert soundfile.read(stored[name])[0] == pytest.approx(render_sounds.render(name), abs=2 / 32768)
    assert sum(path.stat().st_size for path in stored.values()) <= 2e6
