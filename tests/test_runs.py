"""Runs over data sets: their folder, what is left out, shards, resuming, comparisons, and the command line."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from studies.shards import merge
from zscap import cli
from zscap.errors import InvalidData, InvalidOption, UnwritableOutput
from zscap.evaluation import compare, read_dataset, run
from zscap.folders import ASSETS
from zscap.preset.load import about

ROOT = Path(__file__).parent.parent
CLIPS = sorted((ROOT / "data" / "soundscapes").glob("*.flac"))
QUICK = {"preset": "embedded-proximal", "max_new_tokens": 4, "num_candidates": 16, "num_previewed": 64}


@pytest.fixture(scope="module", autouse=True)
def nothing_foreign(tmp_path_factory):
    """Judge, second language model and METEOR are named gaps without data, fetched weights and Java."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")  # METEOR's program takes seconds to start
        for name in ("ZSCAP_DATA", "ZSCAP_CACHE"):
            patch.setenv(name, str(tmp_path_factory.mktemp("nothing")))
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Six recordings of the user's own, of which one has a damaged file and one none."""
    folder = tmp_path_factory.mktemp("own")
    rows = ["file,caption,sound"]
    for clip in CLIPS[:4]:
        shutil.copy(clip, folder)
        rows += [f'{clip.name},"It is loud, and near",dog_bark', f"{clip.name},A dog barks,"]
    (folder / "bad.wav").write_bytes(b"RIFF")
    rows += ["bad.wav,A bell rings,", "gone.wav,Rain falls,"]
    (folder / "refs.csv").write_text("\n".join(rows) + "\n")
    return folder / "refs.csv"


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """A run over all of them: its folder."""
    folder = tmp_path_factory.mktemp("whole")
    run(data=table, out=folder, **QUICK)
    return folder


def check_same(folder, whole):
    """What a run has written is to the byte what another has, but for its times."""
    for name in ("captions.jsonl", "scores.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    one, other = (json.loads((each / "summary.json").read_text()) | {"timing": 0} for each in (folder, whole))
    assert one == other


def test_a_run_writes_captions_scores_and_a_summary(whole):
    rows = [json.loads(line) for line in (whole / "captions.jsonl").read_text().splitlines()]
    assert [row["source"] for row in rows] == [*(clip.name for clip in CLIPS[:4]), "bad.wav"]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["captioned"] == 4 and list(summary["failed"]) == ["bad.wav"] and summary["missing"] == ["gone.wav"]
    measures = summary["measures"]
    assert measures["hit"]["n"] == 4 and measures["hit"]["high"] > measures["hit"]["low"]
    assert measures["cider_d"]["n"] == 4 and measures["cider_d"]["scale"] == "0 to 10"
    assert measures["matching"]["low"] < measures["matching"]["value"] < measures["matching"]["high"]
    gaps = {
        "events_missed": "doesn't tell sounds apart",
        "sounds_invented": "fetch small",
        "sbert_sim": "fetch small",
        "fluency": "fetch small",
        "meteor": "java",
        "judge": "to learn from",
    }
    assert all(reason in measures[name]["gap"] for name, reason in gaps.items())
    assert measures["bleu_1"]["tokens"] == "lower-case words"
    assert summary["options"]["max_new_tokens"] == 4 and summary["versions"]["torch"]
    assert len(summary["weights"]["matcher"]["matcher.safetensors"]) == 64
    scores = (whole / "scores.csv").read_text().splitlines()
    assert len(scores) == 6 and scores[5].startswith("bad.wav") and "bad.wav: " in scores[5]


def test_a_run_goes_on_where_it_stopped(table, whole, tmp_path):
    lines = (whole / "captions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "captions.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
    with pytest.raises(InvalidData, match="no run that has ended"):
        compare(whole, tmp_path)
    assert run(data=table, out=tmp_path, **QUICK)["timing"]["captioned"] == 3
    check_same(tmp_path, whole)
    with pytest.raises(UnwritableOutput, match="kappa"):
        run(data=table, out=tmp_path, **QUICK | {"kappa": 9.0})
    with pytest.raises(InvalidOption, match="kapa"):
        run(data=table, out=tmp_path / "unmade", **QUICK | {"kapa": 1.0})
    assert not (tmp_path / "unmade").exists()


def test_shards_put_together_are_the_whole(table, whole, tmp_path):
    parts = [tmp_path / f"part {number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        run(data=table, out=part, shard=f"{number}/3", **QUICK)
    merge(parts[::-1], tmp_path / "merged")
    check_same(tmp_path / "merged", whole)
    with pytest.raises(InvalidData, match="shards 1/3, 3/3"):
        merge([parts[0], parts[2]], tmp_path / "two")
    run(data=table, out=tmp_path / "other", shard="2/3", **QUICK | {"kappa": 9.0})
    with pytest.raises(InvalidData, match="its options is not that of"):
        merge([parts[0], tmp_path / "other", parts[2]], tmp_path / "two")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/9", "1/0"])
def test_a_shard_that_is_none_is_refused(shard, table, tmp_path):
    with pytest.raises(InvalidData, match="shard"):
        run(data=table, out=tmp_path / "run", shard=shard, **QUICK)


def test_comparisons_tell_real_differences(table, whole, tmp_path):
    run(data=table, out=tmp_path / "unguided", **QUICK | {"matching_scale": 0.0, "classifier_scale": 0.0})
    better = compare(tmp_path / "unguided", whole).loc["matching"]
    assert better["real"] and better["low"] > 0
    same = compare(whole, whole)
    assert not same["real"].any() and (same["difference"] == 0).all() and (same["n"] == 4).all()
    run(data="soundscapes", out=tmp_path / "others", shard="1/60", **QUICK)
    with pytest.raises(InvalidData, match="compare runs on the same"):
        compare(whole, tmp_path / "others")


OWN = """
[{}]
description = ""
takes = ["audio"]
license = ""
guidance = "proximal"
matcher = "embedded"
options = {{ max_new_tokens = 1, num_candidates = 4 }}
language_model = {{ network = "causal", place = "folder", folder = "{}", command = "", files = ["config.json"] }}
"""


def test_no_language_model_judges_its_own_captions(tmp_path, monkeypatch):
    """It was known by its folder's name: a copy elsewhere judged its own fluency."""
    judge, copy, other = (tmp_path / name for name in ("judge", "copy", "other"))
    tiny.language_model(judge)
    shutil.copytree(judge, copy)
    tiny.language_model(other, seed=1)
    folders = {"judge": judge, "copied": copy, "another": other, "embedded-copy": ASSETS / "language_model"}
    (tmp_path / "presets.toml").write_text("".join(OWN.format(*each) for each in folders.items()))
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "presets.toml"))
    usual = about("small")
    other_small = replace(usual, parts=usual.parts | {"language_model": about("judge").parts["language_model"]})
    monkeypatch.setattr("zscap.preset.load.about", lambda name: other_small if name == "small" else about(name))
    said = {}
    for name in folders:
        for _ in range(2):  # gone on with, no captioner is loaded
            summary = run(name, "soundscapes", tmp_path / name, clips=1)
            said[name] = summary["measures"]["fluency"]["scale"].rpartition(": ")[2]
    own = "the language model of the preset embedded"
    assert said == {"judge": own, "copied": own, "another": "judge", "embedded-copy": "judge"}


def test_the_command_line_says_what_was_left_out(table, tmp_path, capsys, monkeypatch):
    def zscap(*command):
        monkeypatch.setattr(sys, "argv", ["zscap", *map(str, command)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    settings = [f"--set={name}={value}" for name, value in QUICK.items() if name != "preset"]
    command = ["evaluate", "--preset", QUICK["preset"], *settings]
    monkeypatch.chdir(tmp_path)
    status, out, err = zscap(*command, table)
    assert status == 1
    assert "gone.wav: no such file" in err and "bad.wav: " in err and "runs/refs/summary.json" in err
    assert "4 captions, 1 failed, 1 recordings missing" in out and "cider_d" in out
    assert any("spice" in line and "-" in line for line in out.splitlines())
    assert zscap(*command, "--data", table, "--out", "runs/refs")[1] == out
    status, out, _ = zscap("compare", "runs/refs", "runs/refs")
    assert status == 0 and "not told apart" in out
    for given in ([], [table, "--data", table]):
        status, _, err = zscap("evaluate", *given)
        assert status == 1 and "takes one data set" in err


# --- Data sets -------------------------------------------------------------------------------------------------------


def test_all_references_are_read_commas_and_all(table):
    clip = read_dataset(table).clips[0]
    assert clip.references == ("It is loud, and near", "A dog barks") and clip.sound == "dog_bark"
    soundscapes = read_dataset("soundscapes").clips
    assert len(soundscapes) == 64 and all(len(clip.references) == 5 for clip in soundscapes)
    assert sum(clip.sound is not None for clip in soundscapes) == 40


def test_published_sets_are_read_as_they_unpack(tmp_path):
    (tmp_path / "clotho").mkdir()
    captions = tmp_path / "clotho" / "clotho_captions_evaluation.csv"
    with pytest.raises(InvalidData, match=r"evaluation\.csv: no table can be read .*; Clotho .* unpack"):
        read_dataset("clotho", tmp_path)
    captions.write_text("file_name,caption_1,caption_2,caption_3,caption_4,caption_5\nOne.wav,a,b,c,d,e\n")
    recordings = ["audiocaps/audio/Yabc.flac", "audiocaps/audio/def_30.flac", "clotho/evaluation/One.wav"]
    for name in (*recordings, "esc10/rain/1.ogg", "sounds/esc50/cow/1.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = ["audiocap_id,youtube_id,start_time,caption", '1,abc,0,"A dog, barking"', "2,abc,0,A dog barks"]
    (tmp_path / "audiocaps" / "test.csv").write_text("\n".join([*rows, "3,def,30,Rain", "4,ghi,10,Wind"]))
    audiocaps = read_dataset("audiocaps", tmp_path)
    assert [clip.name for clip in audiocaps.clips] == ["abc", "def"] and audiocaps.missing == ["ghi"]
    assert audiocaps.clips[0].references == ("A dog, barking", "A dog barks")
    assert read_dataset("clotho", tmp_path).clips[0].references == ("a", "b", "c", "d", "e")
    assert [clip.sound for clip in read_dataset("esc50", tmp_path).clips] == ["rain", "cow"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("esc51", None, "or one of soundscapes"),
        ("audiocaps", None, "no table can be read"),
        ("kitchen20", None, "nothing found"),
        ("nothing.csv", None, "no table can be read"),
        ("refs.csv", "path,caption\na.wav,A dog\n", "no column 'file'"),
        ("refs.csv", "file,caption\n,A dog\n", "line 2 names no file"),
        ("refs.csv", "file,caption\na.wav,A dog\n", "1 recordings are listed and none is there"),
    ],
)
def test_data_that_are_not_there_are_named(name, content, message, tmp_path):
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidData, match=message):
        read_dataset(tmp_path / name if name.endswith(".csv") else name, tmp_path)
