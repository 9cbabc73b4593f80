"""`make demo`: captions, where their words come from, and a figure of one recording."""

import matplotlib.image
import pytest

import demo
from studies.recordings import animals
from zscap.errors import InvalidData
from zscap.folders import REPOSITORY


def test_demo_prints_captions_and_writes_a_figure(monkeypatch, tmp_path, capsys):
    clips = [REPOSITORY / "data" / "sounds" / "thunderstorm.flac", REPOSITORY / "data" / "soundscapes" / "rain-1.flac"]
    monkeypatch.setattr(demo, "FIGURE", tmp_path / "runs" / "demo.png")
    monkeypatch.setattr(demo, "recordings", lambda: clips)
    monkeypatch.setattr(demo, "SHOWN", clips[0].name)
    demo.main()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and all(line.endswith(("store's]", "model's]")) for line in said[1:3])
    assert "thunder" in said[1].lower() and matplotlib.image.imread(demo.FIGURE).std() > 0.1


def test_recordings_that_are_not_there_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path))
    with pytest.raises(InvalidData, match=r"run `zscap fetch recordings`$"):
        animals()
    assert all((REPOSITORY / "data" / "soundscapes" / f"{name}.flac").is_file() for name in demo.MIXED)
