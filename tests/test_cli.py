"""The command line over real files with the embedded preset: what it prints, where it goes on, what it refuses."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import wave
from pathlib import Path

import pandas as pd
import pytest

import zscap
from zscap import MagicOptions, ProximalOptions, SteeringOptions, cli

CLIPS = sorted((Path(__file__).parent.parent / "data" / "soundscapes").glob("*.flac"))[:2]
QUICK = ["--preset", "embedded", "--set", "max_new_tokens=3", "--set", "num_iterations=1"]


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


def test_bad_inputs_get_a_line_each_and_cost_no_other(run, tmp_path):
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "nothing").mkdir()
    with wave.open(str(tmp_path / "silence.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    bad = {"missing.wav": "no such file", "text.wav": "not readable as audio", "silence.wav": "is silent"}
    bad |= {"nothing": "no audio in this folder"}
    out = tmp_path / "captions.jsonl"
    names = [tmp_path / name for name in bad]
    status, _, err = run("caption", CLIPS[0], *names[:2], CLIPS[1], *names[2:], *QUICK, "--out", out)
    assert status == 1
    *lines, last = err.splitlines()
    assert last == f"zscap: 2 captioned, {len(bad)} failed, 0 already there: {out}"
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
        (["--set", "max_new_tokens=10000"], "max_new_tokens=10000"),
        (["--device", "tpu"], "device 'tpu'"),
        (["--device", "cpu:x"], "device 'cpu:x'"),
        (["--set", "seed=" + 5000 * "9"], "must be a whole number"),
        (["--set", "keywords=" + 10**5 * "["], "must be a list of texts"),
        (["--set", "prompt=\udcff"], "must be a text of UTF-8"),
        (["--set", "forbidden_tokens=[1000000]"], "leave out 1000000"),
        (["--set", "kappa=1e300"], "must be greater than 0, from 1e-6 to 1e6"),
        (["--out", "/"], "/: is no regular file"),
        (["--out", str(CLIPS[0])], "is one of the files to read; choose another --out"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(run, arguments, says):
    status, out, err = run("caption", CLIPS[0], *arguments)
    assert status == 1 and out == ""
    assert says in err and len(err.splitlines()) == 1 and len(err) < 300


def test_a_wrong_option_is_said_before_the_output_is_touched(run, tmp_path):
    for wrong in (["--set", "beam_size=0"], ["--device", "tpu"], ["--preset", "zeraucap"]):
        assert run("caption", CLIPS[0], *wrong, "--out", tmp_path / "captions.jsonl")[0] == 1
        assert not list(tmp_path.iterdir())


def test_the_output_is_checked_before_networks_are_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr("zscap.preset.load.load", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "notes.txt").write_text("my notes")
    (tmp_path / "protected").touch(mode=0o444)
    for name, says in (("notes.txt", "is not a caption"), ("protected", "write-protected")):
        status, _, err = run("caption", CLIPS[0], "--out", tmp_path / name)
        assert status == 1 and says in err and len(err.splitlines()) == 1


def test_a_run_that_was_killed_goes_on(run, tmp_path, monkeypatch):
    out = tmp_path / "captions.jsonl"
    command = ["caption", *map(str, CLIPS), *QUICK, "--batch-size", "1", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "zscap", *command], env=os.environ)
    while process.poll() is None and not (out.exists() and out.read_text().count("\n")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert out.read_text().count("\n") >= 1
    assert run(*command)[0] == 0
    whole = out.read_text()
    assert [json.loads(line)["source"] for line in whole.splitlines()] == [str(clip) for clip in CLIPS]
    lines = whole.splitlines(keepends=True)
    out.write_text(lines[0] + lines[1][:40])  # killed in the middle of the second line
    assert run(*command)[0] == 0
    assert out.read_text() == whole
    monkeypatch.setattr("zscap.preset.load.load", None)  # nothing left to do: no network is loaded
    assert run(*command)[0] == 0
    assert out.read_text() == whole


def test_output_of_another_run_is_not_mixed(run, tmp_path):
    out = tmp_path / "captions.jsonl"
    assert run("caption", CLIPS[0], *QUICK, "--out", out)[0] == 0
    status, _, err = run("caption", CLIPS[0], *QUICK, "--set", "beam_size=2", "--out", out)
    assert status == 1 and 'with {"options": {}}; choose another --out for {"options": {"beam_size": 2}}' in err
    status, _, err = run("caption", CLIPS[0], *QUICK, "--scoring-dtype", "float32", "--out", out)
    assert status == 1 and '{"scoring_dtype": null}; choose another --out' in err


def test_a_run_with_keywords_goes_on(run, tmp_path):
    """It was refused: a tuple of names came back from the file as a list."""
    names, out = tmp_path / "names.txt", tmp_path / "captions.jsonl"
    names.write_text("rain\na dog\n")
    command = ["caption", *CLIPS, *QUICK, "--keywords", names, "--set", "num_keywords=1", "--out", out]
    assert run(*command)[0] == 0
    whole = out.read_text()
    row = json.loads(whole.splitlines()[0])
    assert re.fullmatch(r"names\.txt, sha256 [0-9a-f]{16}", row["keywords"]) and row["device"] == "cpu"
    assert row["options"] == {"max_new_tokens": 3, "num_iterations": 1, "num_keywords": 1}
    assert "0 captioned, 0 failed, 2 already there" in run(*command)[2]
    names.write_text("rain\na cat\n")
    status, _, err = run(*command)
    assert status == 1 and "holds captions made with" in err and "sha256" in err
    status, _, err = run("caption", *CLIPS, *QUICK, "--set", "num_keywords=1", "--out", out)
    assert status == 1 and "default, sha256" in err
    assert out.read_text() == whole
    status, _, err = run(*command[:-1], names)
    assert status == 1 and "is one of the files to read" in err and names.read_text() == "rain\na cat\n"


def test_failed_recordings_are_tried_again(run, tmp_path):
    """Each resumed run appended them once more."""
    out, late = tmp_path / "new" / "captions.csv", tmp_path / "late.flac"
    command = ["caption", late, CLIPS[0], *QUICK, "--out", out]
    status, _, err = run(*command)
    assert status == 1 and f"1 captioned, 1 failed, 0 already there: {out}" in err
    first = out.read_text()
    assert run(*command)[0] == 1
    assert out.read_text() == first
    late.write_bytes(CLIPS[1].read_bytes())
    assert "1 captioned, 0 failed, 1 already there" in run(*command)[2]
    table = pd.read_csv(out)
    assert table.source.tolist() == [str(CLIPS[0]), str(late)] and table.error.isna().all()


def test_names_that_are_no_utf8_or_in_letters_that_stdout_lacks(tmp_path, monkeypatch, capfdbinary):
    names = [os.fsencode(tmp_path) + b"/\xff.flac", os.fsencode(tmp_path / "é.flac")]
    for name in names:
        Path(os.fsdecode(name)).write_bytes(CLIPS[0].read_bytes())
    monkeypatch.setattr(sys, "argv", ["zscap", "caption", *map(os.fsdecode, names), *QUICK])
    with pytest.raises(SystemExit):
        cli.main()
    assert [line.partition(b"\t")[0] for line in capfdbinary.readouterr().out.splitlines()] == names
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding="ascii"))
    with pytest.raises(SystemExit):
        cli.main()
    assert [line.rpartition(b"/")[2].partition(b"\t")[0] for line in said.getvalue().splitlines()] == [
        b"\\udcff.flac",
        b"\\xe9.flac",
    ]


def test_other_files_of_a_folder_are_said(run, tmp_path):
    for clip in CLIPS:
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    for name in ("a.txt", "b.txt", "c.csv"):
        (tmp_path / name).touch()
    status, out, err = run("caption", tmp_path, *QUICK)
    assert status == 0 and len(out.splitlines()) == 2
    assert err == f"zscap: {tmp_path}: 3 other files left out (.txt, .csv)\n"


def test_presets_are_listed_in_columns(run):
    status, out, _ = run("presets")
    assert status == 0
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    table = zscap.presets()
    for column, values in (("takes", table.takes), ("description", table.description)):
        starts = {line.index(f"  {value}") for line, value in zip(lines, values, strict=True)}
        assert len(starts) == 1, column
    assert re.search("^embedded +ready +audio ", out, re.MULTILINE)
    assert re.search(
        "^audibility-guidance +not ready .*\n    missing: .*zscap fetch audibility-guidance", out, re.MULTILINE
    )


def test_options_are_listed_with_value_rule_and_meaning(run):
    status, out, _ = run("options")
    words = " ".join(out.split())
    assert status == 0
    for name, kind in (("steering", SteeringOptions), ("proximal", ProximalOptions), ("magic", MagicOptions)):
        assert f"{name}: {kind.__doc__.splitlines()[0]}" in out
        status, section, _ = run("options", name)
        assert status == 0 and section in out
        for option in dataclasses.fields(kind):
            assert f"\n  {option.name} = {json.dumps(option.default)}" in section
    assert "beam_size = 1 hypotheses of each source; 1 is greedy decoding (at least 1 and at most 32)" in words
    assert "('scores' or 'losses')" in words and "(true or false)" in words
    _, out, _ = run("options", "embedded")
    assert "\n  min_p = 0.0005 " in out and out.startswith("embedded: Gradient steering")
    status, _, err = run("options", "embeded")
    assert status == 1 and err == "zscap: unknown preset 'embeded': did you mean 'embedded'?\n"


def test_the_version_is_said(run):
    status, out, _ = run("--version")
    assert status == 0 and out == f"zscap {zscap.__version__}\n"
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert zscap.__version__ == pyproject["project"]["version"]


@pytest.mark.parametrize("command", [["--version"], ["options"], ["caption", "a.wav", "--preset", "embeded"]])
def test_what_needs_no_network_answers_at_once(command):
    code = f"import sys; from zscap import cli; sys.argv = {['zscap', *command]}; cli.main()"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    slow = {"torch", "transformers", "pandas", "numpy", "scipy", "sklearn", "huggingface_hub", "pooch", "av", "PIL"}
    assert not slow & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert ("embeded" in done.stderr) == (done.returncode == 1)


def test_names_with_line_breaks_stay_in_one_line(run, tmp_path):
    odd = tmp_path / "two\nlines\t\x1b[31m.flac"
    odd.write_bytes(CLIPS[0].read_bytes())
    status, out, err = run("caption", odd, tmp_path / "no\nwhere.wav", *QUICK)
    assert status == 1
    (line,) = out.splitlines()
    assert line.startswith(f"{tmp_path}/two\\nlines\\t\\x1b[31m.flac\t")
    assert err == f"zscap: {tmp_path}/no\\nwhere.wav: no such file; check the path\n"


def test_a_closed_pipe_and_a_full_disk():
    command = [sys.executable, "-m", "zscap", "options"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "zscap: stdout: cannot be written (No space left on device)\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"index,mid,display_name\n0,/m/1,\n1,/m/2,NA\n2,/m/3,7\n", None),
        ("a.txt", b"\xef\xbb\xbfNA\n7\n", None),
        ("b.csv", b"a,b\n1,2\n", "no keywords can be read"),
        ("c.txt", b"\xff\xfe", "no keywords can be read"),
        ("d.txt", b"\n".join(b"%d" % n for n in range(10_001)), "holds 10001 names; give 1 to 10,000"),
        ("e.txt", b"dog\n" * 2**21, "more than 262144 bytes"),
        ("f.csv", b'display_name\n"' + 200_000 * b"a" + b'"\n', "field larger than field limit"),
    ],
)
def test_files_of_keywords(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    if says is None:
        assert zscap.keywords.read_keywords(tmp_path / name) == ("NA", "7")
        return
    with pytest.raises(zscap.InvalidData, match=says) as caught:
        zscap.keywords.read_keywords(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(zscap.InvalidData, match="no regular file"):
        zscap.keywords.read_keywords("/dev/zero")


def test_closed_streams_are_no_error(tmp_path):
    out = tmp_path / "a.jsonl"
    command = f"'{sys.executable}' -m zscap caption '{CLIPS[0]}' {' '.join(QUICK)} --out '{out}' >&- 2>&-"
    assert subprocess.run(command, shell=True).returncode == 0 and out.read_text().count("\n") == 1


def test_folders_of_the_environment_that_cannot_be(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", "x" * 300)
    status, out, _ = run("caption", CLIPS[0], *QUICK, "--set", "num_keywords=1")
    assert status == 0 and out
    monkeypatch.setenv("ZSCAP_CACHE", "x" * 300)
    assert run("presets")[0] == 0
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "fifo"))
    status, _, err = run("presets")
    assert status == 1 and "no such regular file" in err and len(err.splitlines()) == 1
