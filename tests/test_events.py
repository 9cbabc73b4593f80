"""Which sounds are heard when, and captions with times: as objects, in files, and on the command line."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest

import zscap
from zscap import cli
from zscap.decoding import UNCLEAR
from zscap.errors import InvalidOption
from zscap.evaluation import reference_free, runs
from zscap.evaluation.datasets import Clip
from zscap.evaluation.naming import names_sound
from zscap.folders import REPOSITORY
from zscap.sources import read_audio, stretches
from zscap.sources.sound import Stretch

RATE = 16_000
FIRST = REPOSITORY / "data" / "soundscapes" / "dog_bark-3.flac"
SECOND = REPOSITORY / "data" / "sounds" / "thunderstorm.flac"


@pytest.fixture(scope="module")
def small() -> zscap.Captioner:
    return zscap.load("small")


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Barks, half a minute of zeros, and thunder."""
    first, second = read_audio(FIRST, RATE), read_audio(SECOND, RATE)
    return np.concatenate([first, np.zeros(30 * RATE, np.float32), second])


@pytest.fixture
def recording(tmp_path, samples) -> Path:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return path


def run(*arguments: object) -> int:
    """Run a command line; returns its exit status."""
    with pytest.raises(SystemExit) as ended:
        cli.app([*map(str, arguments)])
    return ended.value.code or 0


def test_events_have_names_and_times_and_silence_has_none(small, samples):
    events = small.listen((samples, RATE))
    assert list(events) == sorted(events, key=lambda event: event.start)
    seconds, barks = len(samples) / RATE, len(read_audio(FIRST, RATE)) / RATE
    assert all(0 <= event.start < event.end <= seconds and 0 <= event.confidence <= 1 for event in events)
    dogs = [event for event in events if names_sound(event.name, "dog_bark")]
    assert dogs and max(event.confidence for event in dogs) > 0.5 and dogs[-1].end < barks + 0.5, events
    assert any(names_sound(event.name, "thunderstorm") and event.start > barks + 29 for event in events), events
    assert not [event for event in events if barks + 0.5 < event.start and event.end < barks + 29.5], events


def test_an_event_of_a_short_recording_ends_with_it(small, samples):
    loudest = int(np.abs(samples[: len(read_audio(FIRST, RATE))]).argmax())
    (event, *_) = small.listen((samples[max(0, loudest - RATE // 4) :][: RATE // 2], RATE))
    assert (event.start, event.end) == (0, 0.5)


def test_a_caption_has_its_events_and_how_sure_it_is(small):
    caption = small(str(FIRST))
    assert caption.events == small.listen(str(FIRST)) and 0.5 < caption.confidence < 1
    unclear = small(str(FIRST), unclear_below=1.0)
    assert unclear.text == UNCLEAR and unclear.matching < caption.matching
    assert small(str(FIRST), unclear_below=caption.confidence).text == caption.text


def test_events_are_set_against_the_caption(tmp_path):
    """A clip with a caption that names what is heard misses less of it, and invents less, than with another's."""
    rows = [f"{FIRST},A big dog barks twice.\n{SECOND},Thunder rolls far away.\n"]
    (tmp_path / "own.csv").write_text("file,caption\n" + "".join(rows))
    summary = runs.run("small", tmp_path / "own.csv", tmp_path / "run")
    scores = runs.read_scores(tmp_path / "run")
    for name in ("events_missed", "events_invented"):
        assert summary["measures"][name]["n"] == 2 and summary["measures"][name]["scale"].endswith("less is better")
        assert 0 <= scores[name].min() <= scores[name].max() < 0.7
    table = scores.assign(events=[[{"name": "Dog"}], [{"name": "Dog"}]], text=["A dog barks.", "Thunder rumbles."])
    missed = reference_free.measured(table, [Clip("a", FIRST), Clip("b", SECOND)], "small")[0]
    assert (missed["events_missed"].diff()[1:] > 0.2).all() and (missed["events_invented"].diff()[1:] > 0.2).all()


def test_sounds_are_told_in_the_order_in_which_they_are_heard(small):
    parts = [read_audio(path, RATE) / np.abs(read_audio(path, RATE)).max() for path in (FIRST, SECOND)]
    for samples, order in ((parts, ["dog_bark", "thunderstorm"]), (parts[::-1], ["thunderstorm", "dog_bark"])):
        caption = small((np.concatenate(samples), RATE))
        clauses = caption.text.split(", then ")
        assert len(clauses) == 2 and all(map(names_sound, clauses, order)), caption.text
    assert "then" not in small((np.concatenate(parts * 2), RATE)).text


def test_noise_is_called_noise_and_what_is_hardly_a_sound_unclear(small):
    noise, click = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32), np.zeros(5 * RATE, np.float32)
    click[2 * RATE] = 0.9
    assert re.search(r"\b(noise|hiss|static)", small((noise, RATE)).text, re.IGNORECASE)
    assert small((click, RATE)).text == UNCLEAR


def test_events_of_a_stretch_have_their_times_in_the_recording(small, samples):
    last = small(list(stretches((samples, RATE), 17, RATE)))[-1]
    assert last.events and all(34 <= event.start < event.end <= len(samples) / RATE for event in last.events)
    for seconds in (0, float("nan"), float("inf")):
        with pytest.raises(InvalidOption, match=r"must be of 0\.1 to 3,600 s"):
            next(stretches((samples, RATE), seconds))


def test_a_matcher_that_tells_no_sounds_apart_says_so():
    with pytest.raises(InvalidOption, match="doesn't tell sounds apart; load a preset that does, such as small"):
        zscap.load("embedded").listen(str(FIRST))


@pytest.mark.parametrize("seconds", [1.0, 7.0, 60.0])
def test_stretches_are_the_recording_cut(samples, seconds):
    cut = list(stretches((samples, RATE), seconds, RATE))
    np.testing.assert_allclose(np.concatenate([part for part, _ in cut]), samples, atol=0.02)
    assert all(len(part) == seconds * RATE for part, _ in cut[:-1]) and len(cut[-1][0]) >= 0.1 * RATE
    assert cut[-1].name.endswith(f",{len(samples) / RATE:g}") and "#t=0," in cut[0].name
    assert Stretch(samples[:RATE], RATE, "day.wav", 86_400.125).name == "day.wav#t=86400.125,86401.125"


def test_captions_with_times_are_subtitles_that_players_read_and_a_killed_run_goes_on(recording, tmp_path, caplog):
    out, again = tmp_path / "out.vtt", ("caption", recording, "--preset", "embedded", "--windows", 10, "--out")
    assert run(*again, out) == 0
    rows = out.with_name("out.vtt.jsonl")
    whole, text = rows.read_bytes(), out.read_text()
    made = [json.loads(line) for line in whole.splitlines()]
    assert made[0]["source"] == f"{recording}#t=0,10" and {row["text"] for row in made[1:3]} == {"Silence."}
    with av.open(str(out)) as subtitles:
        packets = [packet for packet in subtitles.demux() if packet.size]
    assert [float(packet.pts * packet.time_base) for packet in packets] == [10.0 * n for n in range(len(made))]
    assert [bytes(packet).decode() for packet in packets] == [row["text"] for row in made]
    rows.write_bytes(whole[: len(whole) * 2 // 3])
    assert run(*again, out) == 0 and rows.read_bytes() == whole and out.read_text() == text
    out.write_text("mended by hand")
    assert run(*again, out) == 0 and out.read_text() == "mended by hand"
    with pytest.raises(zscap.ZscapError, match=r'"recording".*choose another --out'):
        cli.app([*map(str, ("caption", FIRST, *again[2:], out))], standalone_mode=False)
    assert run("caption", f"{recording}#t=0,10", "--preset", "embedded") == 1  # no such file, and no silence
    assert run(*again, tmp_path / "out.srt") == 0
    cues = (tmp_path / "out.srt").read_text().split("\n\n")
    assert cues[1] == "2\n00:00:10,000 --> 00:00:20,000\nSilence." and len(cues) == len(made) + 1
    table = tmp_path / "rows.csv"
    assert run(*again, table) == 0
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) * 2 // 3])
    assert run(*again, table) == 0 and table.read_bytes() == whole


def test_events_are_listed_and_written_but_over_nothing(recording, tmp_path, capsys, monkeypatch):
    """Without a language model, which takes half of the memory."""
    monkeypatch.setattr("zscap.files.pretrained.load_language_model", lambda *_, **__: pytest.fail("loaded"))
    files = [tmp_path / f"events{suffix}" for suffix in (".csv", ".jsonl", ".vtt", ".txt")]
    for file in files:
        assert run("caption", recording, "--events", "--out", file) == 0
    with files[0].open() as table:
        rows = list(csv.DictReader(table))
    assert [json.loads(line)["name"] for line in files[1].read_text().splitlines()] == [row["name"] for row in rows]
    assert files[2].read_text().count(" --> ") == len(rows) > 1
    assert files[3].read_text().splitlines()[0].split("\t")[2] == rows[0]["name"]
    capsys.readouterr()
    assert run("caption", recording, tmp_path / "none.wav", "--events") == 1
    assert [line.split("\t")[-1] for line in capsys.readouterr().out.splitlines()] == [row["name"] for row in rows]


def test_listening_that_is_killed_goes_on_and_has_every_event_once(small, tmp_path, caplog):
    clips = [str(clip) for clip in sorted(FIRST.parent.glob("*.flac"))[:12]]
    out = tmp_path / "out.csv"
    rows, command = tmp_path / "out.csv.jsonl", ["caption", *clips, "--events", "--out", str(out)]
    killed = subprocess.Popen([sys.executable, "-m", "zscap", *command], cwd=REPOSITORY)
    while not rows.exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL and not out.exists()
    kept = rows.read_bytes().count(b"\n")
    caplog.set_level("INFO", "zscap")
    assert run(*command) == 0 and f"{12 - kept} listened to, 0 failed, {kept} already there" in caplog.text and kept
    with out.open() as table:
        found = [(row["source"], row["name"], float(row["start"])) for row in csv.DictReader(table)]
    assert found == [(clip, event.name, event.start) for clip in clips for event in small.listen(clip)]
    out.write_text("mended by hand")
    assert run(*command) == 0 and out.read_text() == "mended by hand"
    assert run(*command[:-2], FIRST, *command[-2:]) == 0 and "mended" not in out.read_text()  # one more recording


def test_an_hour_shows_how_far_it_is_heard(small, samples):
    told = []
    small.listen((samples, RATE), told.append)
    assert told == sorted(told) and len(told) > 3 and told[-1] == pytest.approx(len(samples) / RATE, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "a.vtt"], "a.vtt: holds lines with times; add --windows 10 or --events"),
        (["b.wav", "--events", "--out", "a.srt"], "a.srt: holds the times of one recording, not of 2"),
        (["--events", "--windows", "5"], "--events: makes no captions; leave out --windows"),
        (["--events", "--report", "a.html"], "--events: makes no captions; leave out --report"),
        (["--windows", "5", "--preset", "embedded-scenes"], "--windows: cuts recordings, and the preset takes image"),
        (["--events", "--out", "there.csv/a.csv"], "there.csv/a.csv.jsonl: lies in a file, which is no folder"),
        (["--events", "--out", "there.csv"], "there.csv: is there already; choose another --out"),
        (["--windows", "5", "--out", "there.vtt"], "there.vtt: is there already; choose another --out"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_lost(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("there.csv", "there.vtt"):
        Path(name).write_text("mine")
    with pytest.raises(zscap.ZscapError, match=says):
        cli.app(["caption", "a.wav", "--preset", "embedded", *arguments], standalone_mode=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there.csv": "mine", "there.vtt": "mine"}
