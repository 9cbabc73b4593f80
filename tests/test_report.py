"""Pages of captions: everything is in the file, sounds can be played, and nothing in a caption is taken for code."""

import base64
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

import zscap
from zscap import cli
from zscap.errors import UnwritableOutput
from zscap.evaluation.datasets import Clip, read_dataset
from zscap.evaluation.report import unguided, write_report
from zscap.sources import read_audio

ROOT = Path(__file__).parent.parent
CLIPS = sorted((ROOT / "data" / "soundscapes").glob("*.flac"))
NASTY = "a </script><script>alert(1)</script> & \u2028 cat"


def page(file):
    text = Path(file).read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(data)


def table(*texts):
    return pd.DataFrame({"text": texts, "error": None, "matching": [0.5, None][: len(texts)]})


def test_a_page_holds_all_that_it_shows(tmp_path):
    clips = [Clip("one", CLIPS[0], ("A dog barks", NASTY), "dog_bark"), Clip("two", tmp_path / "gone.wav")]
    write_report(tmp_path / "page.html", "Title", clips, table(NASTY, "rain"), without=["nothing", None])
    text, data = page(tmp_path / "page.html")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text) and "alert(1)</script>" not in text
    first, second = data["clips"]
    assert first["text"] == NASTY and first["references"][1] == NASTY and first["unguided"] == "nothing"
    assert first["scores"] == {"matching": 0.5} and second["scores"] == {} and second["audio"] is None
    for name in ("audio", "picture"):
        (tmp_path / name).write_bytes(base64.b64decode(first[name].partition(",")[2]))
    played, heard = (read_audio(str(file), 16_000) for file in (tmp_path / "audio", CLIPS[0]))
    assert len(played) == pytest.approx(len(heard), abs=100)
    with Image.open(tmp_path / "picture") as picture:
        assert picture.size == (240, 80) and picture.getextrema()[0] == (0, 252)  # from black to bright


@pytest.mark.parametrize(("data", "says"), [("audiocaps", "may differ"), ("soundscapes", "another data set")])
def test_published_rows_stand_beside_with_a_warning(data, says, tmp_path):
    facts = {"data": data, "captioned": 2, "failed": {}, "missing": [], "versions": {"zscap": "1"}, "device": "cpu"}
    facts["measures"] = {
        "bleu_1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 2, "scale": "0 to 1"},
        "spice": {"gap": "no Java"},
    }
    write_report(tmp_path / "page.html", "Title", [Clip("one", CLIPS[0])], table("a dog"), summary=facts)
    _, written = page(tmp_path / "page.html")
    assert says in written["warning"] and f"2 clips of {data}" in written["warning"]
    systems = {(row[0], row[1]) for row in written["published"]["rows"]}
    assert ("ZerAuCap: LM only", "AudioCaps test (975 clips)") in systems
    assert any("Clotho" in of for _, of in systems) == (data == "soundscapes")
    assert {each["name"] for each in written["measures"]} == {"bleu_1", "spice"}
    with pytest.raises(UnwritableOutput, match="choose another --report"):
        write_report(tmp_path / "no" / "page.html", "Title", [Clip("one", CLIPS[0])], table("a dog"))


def test_the_language_model_alone_is_asked_once_where_it_reads_no_source():
    captioner = zscap.load("embedded-proximal", max_new_tokens=3)
    clips = read_dataset("soundscapes").clips[:3]
    texts = unguided(captioner, [Clip("bad", ROOT / "README.md"), *clips])
    assert texts == [captioner(str(CLIPS[0]), matching_scale=0, classifier_scale=0).text] * 4


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_timeline_has_the_events_and_stretches_of_the_whole_recording(name, tmp_path):
    """Where captions are made, and where all are there already."""
    recording = tmp_path / "long.wav"
    soundfile.write(recording, np.tile(read_audio(ROOT / "data" / "sounds" / "thunderstorm.flac", 16_000), 9), 16_000)
    command = ["caption", recording, "--windows", 20, "--out", tmp_path / name, "--report", tmp_path / "page.html"]
    pages = []
    for _ in range(2):
        cli.app(list(map(str, command)), standalone_mode=False)
        pages.append(page(tmp_path / "page.html")[1])
    (clip,) = pages[0]["clips"]
    assert pages[0] == pages[1] and clip["name"] == str(recording) and clip["seconds"] == 40.5
    assert [part[:2] for part in clip["stretches"]] == [[0, 20], [20, 40], [40, 40.5]]
    assert "hunder" in clip["stretches"][0][2] and clip["stretches"][2][2]
    (tmp_path / "played.mp3").write_bytes(base64.b64decode(clip["audio"].partition(",")[2]))
    assert len(read_audio(tmp_path / "played.mp3", 16_000)) == pytest.approx(40.5 * 16_000, abs=100)
    thunder = [event for event in clip["events"] if "hunder" in event[0]]
    assert thunder and min(event[1] for event in thunder) < 5 and 35 < max(event[2] for event in thunder) <= 40.5


def test_captions_of_a_folder_become_a_page(tmp_path, monkeypatch, capsys):
    clips = list(map(str, CLIPS[:2]))
    command = ["zscap", "caption", *clips, "--preset", "embedded-proximal", "--set", "max_new_tokens=3"]
    command += ["--report", str(tmp_path / "page.html")]
    rows = ["--out", str(tmp_path / "rows.csv")]
    for out in ([], rows, rows):  # the last: all there
        monkeypatch.setattr(sys, "argv", command + out)
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main()
        _, data = page(tmp_path / "page.html")
        assert [clip["name"] for clip in data["clips"]] == clips
        assert all(clip["text"] and clip["unguided"] and clip["scores"]["matching"] for clip in data["clips"])
        (tmp_path / "page.html").unlink()
    assert "a page of 2 recordings" in capsys.readouterr().err


def test_a_page_sets_the_events_against_the_caption(tmp_path):
    recording = ROOT / "data" / "sounds" / "thunderstorm.flac"
    cli.app(["caption", str(recording), "--report", str(tmp_path / "page.html")], standalone_mode=False)
    (clip,) = page(tmp_path / "page.html")[1]["clips"]
    assert clip["events"] and all(0 <= clip["scores"][f"events_{of}"] < 0.8 for of in ("missed", "invented"))
