"""The command line over real files with the embedded preset: what it prints, where it goes on, what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from zscap import cli

CLIPS = sorted((Path(__file__).parent.parent / "data" / "soundscapes").glob("*.flac"))[:2]
QUICK = ["--set", "max_new_tokens=3", "--set", "num_iterations=1"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process; gives exit status, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["zscap", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_one_line_a_recording(run):
    status, out, err = run("caption", *CLIPS, *QUICK)
    assert status == 0 and err == ""  # no progress bar in a pipe
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == [str(clip) for clip in CLIPS]
    assert all(row[1] for row in rows)


def bad_inputs(folder: Path) -> dict[str, str]:
    """Files that hold nothing to caption, and a word of what is said about each."""
    rate = 16_000
    (folder / "text.wav").write_text("this is no sound")
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), rate)
    soundfile.write(folder / "nan.wav", np.full(rate, np.nan, np.float32), rate, subtype="FLOAT")
    soundfile.write(folder / "click.wav", np.ones(rate // 20, np.float32) * 0.5, rate)
    soundfile.write(folder / "silence.wav", np.zeros(rate, np.float32), rate)
    soundfile.write(folder / "hours.flac", np.ones(3 * 3600 * 1000, np.int16), 1000)
    (folder / "nothing").mkdir()
    return {
        "missing.wav": "no such file",
        "text.wav": "not readable as audio",
        "empty.wav": "holds no samples",
        "nan.wav": "NaN",
        "click.wav": "too short",
        "silence.wav": "is silent",
        "hours.flac": "too long",
        "nothing": "no audio in this folder",
    }


def test_bad_inputs_get_a_line_each_and_cost_no_other(run, tmp_path):
    bad = bad_inputs(tmp_path)
    out = tmp_path / "captions.jsonl"
    names = [tmp_path / name for name in bad]
    status, _, err = run("caption", CLIPS[0], *names[:4], CLIPS[1], *names[4:], *QUICK, "--out", out)
    assert status == 1
    lines = err.splitlines()
    assert len(lines) == len(bad)
    for name, says in bad.items():
        assert any(f"{tmp_path / name}" in line and says in line for line in lines), (name, lines)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["source"] for row in rows if "text" in row} == {str(clip) for clip in CLIPS}
    assert sum("error" in row for row in rows) == len(bad) - 1  # the folder has no row of its own


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "embeded"], "unknown preset 'embeded': did you mean 'embedded'?"),
        (["--set", "beam_sise=2"], "unknown option 'beam_sise'"),
        (["--set", "beam_size=0"], "beam_size=0: must be at least 1"),
        (["--set", "beam_size"], "must be NAME=VALUE"),
        (["--set", "beam_size=two"], "beam_size=two: must be a whole number"),
        (["--set", "max_new_tokens=1000"], "max_new_tokens=1000"),
        (["--device", "tpu"], "device 'tpu'"),
        (["--out", "/"], "/: cannot be written"),
        (["--out", "/nowhere/captions.jsonl"], "cannot be written"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(run, arguments, says):
    status, out, err = run("caption", CLIPS[0], *arguments)
    assert status == 1 and out == ""
    assert says in err and len(err.splitlines()) == 1


def test_write_protected_output(run, tmp_path):
    out = tmp_path / "captions.jsonl"
    out.touch(mode=0o444)
    status, _, err = run("caption", CLIPS[0], *QUICK, "--out", out)
    assert status == 1 and "write-protected" in err and len(err.splitlines()) == 1


def test_a_run_that_was_killed_goes_on(run, tmp_path):
    out = tmp_path / "captions.jsonl"
    assert run("caption", *CLIPS, *QUICK, "--out", out)[0] == 0
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text(lines[0] + lines[1][:40])  # killed in the middle of the second line
    assert run("caption", *CLIPS, *QUICK, "--out", out)[0] == 0
    assert out.read_text() == whole
    assert run("caption", *CLIPS, *QUICK, "--out", out)[0] == 0
    assert out.read_text() == whole  # nothing left to do


def test_a_killed_process_leaves_whole_lines(tmp_path):
    out = tmp_path / "captions.jsonl"
    command = [sys.executable, "-m", "zscap", "caption", *map(str, CLIPS), "--batch-size", "1", "--out", str(out)]
    process = subprocess.Popen([*command, *QUICK], env=os.environ)
    while process.poll() is None and not (out.exists() and out.read_text().count("\n")):
        pass
    process.kill()
    process.wait()
    assert out.read_text().count("\n") >= 1
    assert subprocess.run([*command, *QUICK], check=False).returncode == 0
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == [str(clip) for clip in CLIPS]


def test_output_of_another_run_is_not_mixed(run, tmp_path):
    out = tmp_path / "captions.jsonl"
    assert run("caption", CLIPS[0], *QUICK, "--out", out)[0] == 0
    status, _, err = run("caption", CLIPS[0], *QUICK, "--set", "beam_size=2", "--out", out)
    assert (status == 1 and "other --out" in err) or "choose another --out" in err
    (tmp_path / "notes.txt").write_text("my notes\n")
    status, _, err = run("caption", CLIPS[0], *QUICK, "--out", tmp_path / "notes.txt")
    assert status == 1 and "is not a caption" in err and (tmp_path / "notes.txt").read_text() == "my notes\n"


def test_presets_are_listed(run):
    status, out, _ = run("presets")
    assert status == 0
    assert (
        "embedded\tready" in out
        and "audibility-guidance\tnot ready" in out
        and "zscap fetch audibility-guidance" in out
    )
