"""The command line over real files with the embedded preset: what it prints, where it goes on, what it refuses."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import wave
from contextlib import nullcontext
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


def test_one_line_a_recording_of_a_folder(run, tmp_path):
    clips = [tmp_path / clip.name for clip in CLIPS]
    for clip, copy in zip(CLIPS, clips, strict=True):
        copy.write_bytes(clip.read_bytes())
    for name in ("a.txt", "b.txt", "c.csv"):
        (tmp_path / name).touch()
    status, out, err = run("caption", tmp_path, *QUICK)
    assert (
        status == 0 and err == f"zscap: {tmp_path}: 3 other files left out (.txt, .csv)\n"
    )  # no progress bar in a pipe
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == list(map(str, clips)) and all(row[1] for row in rows)


def test_bad_inputs_get_a_line_each_and_cost_no_other(run, tmp_path):
    """Each resumed run once appended those that had failed once more."""
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "nothing").mkdir()
    with wave.open(str(tmp_path / "silence.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    bad = {"late.flac": "no such file", "text.wav": "not readable as audio", "silence.wav": "is silent"}
    bad |= {"nothing": "no audio in this folder"}
    out = tmp_path / "new" / "captions.csv"
    names = [tmp_path / name for name in bad]
    command = ["caption", CLIPS[0], *names[:2], CLIPS[1], *names[2:], *QUICK, "--out", out]
    status, _, err = run(*command)
    *lines, last = err.splitlines()
    assert (status, last) == (1, f"zscap: 2 captioned, {len(bad)} failed, 0 already there: {out}")
    assert len(lines) == len(bad)
    for name, says in bad.items():
        assert any(f"{tmp_path / name}" in line and says in line for line in lines), (name, lines)
    table = pd.read_csv(out).set_index("source")
    assert set(table.index[table.text.notna()]) == set(map(str, CLIPS))
    assert len(table) == 5  # the folder has no row of its own
    first = out.read_bytes()
    assert run(*command)[0] == 1 and sorted(out.read_bytes().splitlines()) == sorted(first.splitlines())
    names[0].write_bytes(CLIPS[1].read_bytes())
    assert f"1 captioned, {len(bad) - 1} failed, 2 already there" in run(*command)[2]
    assert pd.read_csv(out).set_index("source").text[[str(names[0])]].notna().all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "embeded"], "unknown preset 'embeded': did you mean 'embedded'?"),
        (["--set", "beam_sise=2"], "unknown option 'beam_sise'"),
        (["--set", "beam_size"], "must be NAME=VALUE"),
        (["--set", "keywords=" + 10**5 * "["], "must be a list of texts"),
        (["--set", "prompt=\udcff"], "must be a text, UTF-8"),
        (["--set", "step_size=1e300"], "greater than 0, from 1e-6 to 1e6"),
        (["--set", "max_new_tokens=10000"], "max_new_tokens=10000"),
        (["--preset", "audibility-guidance"], "zscap fetch audibility-guidance"),
        (["--device", "cpu:x"], "device 'cpu:x'"),
        (["--out", str(CLIPS[0])], "is one of the files to read; choose another --out"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line_before_the_output_is_touched(run, tmp_path, arguments, says):
    status, out, err = run("caption", CLIPS[0], *QUICK, "--out", tmp_path / "captions.jsonl", *arguments)
    assert status == 1 and out == "" and not list(tmp_path.iterdir())
    assert says in err and len(err.splitlines()) == 1 and len(err) < 1000


def test_a_run_goes_on_with_its_own_settings_alone(run, tmp_path, monkeypatch):
    """It was refused: a tuple of names came back from the file as a list."""
    names, out = tmp_path / "names.txt", tmp_path / "captions.jsonl"
    names.write_text("rain\na dog\n")
    given = ["caption", *CLIPS, *QUICK, "--set", "num_keywords=1"]
    command = [*given, "--keywords", names, "--out", out]
    assert run(*command)[0] == 0
    whole = out.read_text()
    row = json.loads(whole.splitlines()[0])
    assert re.fullmatch(r"names\.txt, sha256 [0-9a-f]{16}", row["keywords"]) and row["device"] == "cpu"
    assert row["options"] == {"max_new_tokens": 3, "num_iterations": 1, "num_keywords": 1}
    monkeypatch.setattr("zscap.preset.load.load", lambda *_, **__: pytest.fail("loaded"))
    assert "0 captioned, 0 failed, 2 already there" in run(*command)[2]
    others = [
        ([*command, "--set", "beam_size=2"], 'choose another --out for {"options": {"beam_size": 2}}'),
        ([*command, "--scoring-dtype", "float32"], '{"scoring_dtype": null}; choose another --out'),
        ([*given, "--out", out], "default, sha256"),
        ([*command, "--out", names], "is one of the files to read"),
    ]
    for other, says in others:
        status, _, err = run(*other)
        assert status == 1 and says in err
    names.write_text("rain\na cat\n")
    status, _, err = run(*command)
    assert status == 1 and "holds captions made with" in err and "sha256" in err
    out.chmod(0o444)
    assert "write-protected" in run(*command)[2]
    assert out.read_text() == whole and names.read_text() == "rain\na cat\n"


def test_names_with_line_breaks_stay_in_one_line(tmp_path, monkeypatch, capfdbinary):
    """Names that are no UTF-8 are printed as they are, or where stdout lacks their letters escaped."""
    odd = [b"two\nlines\t\x1b[31m.flac", b"\xff.flac", "é.flac".encode()]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(CLIPS[0].read_bytes())
    paths = [str(tmp_path / os.fsdecode(name)) for name in odd]
    monkeypatch.setattr(sys, "argv", ["zscap", "caption", *paths, str(tmp_path / "no\nwhere.wav"), *QUICK])
    escaped = rb"two\nlines\t\x1b[31m.flac"
    ascii = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for stdout, expected in ((sys.stdout, odd[1:]), (ascii, [rb"\udcff.flac", rb"\xe9.flac"])):
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit):
            cli.main()
        said, err = capfdbinary.readouterr()
        lines = (said or ascii.buffer.getvalue()).splitlines()
        assert [line.rpartition(b"/")[2].partition(b"\t")[0] for line in lines] == [escaped, *expected]
        assert err.decode() == f"zscap: {tmp_path}/no\\nwhere.wav: no such file; check the path\n"


def test_presets_are_listed_in_columns(run):
    status, out, _ = run("presets")
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    table = zscap.presets()
    for column, values in (("takes", table.takes), ("description", table.description)):
        starts = {line.index(f"  {value}") for line, value in zip(lines, values, strict=True)}
        assert len(starts) == 1, column
    missing = "^audibility-guidance +not ready .*\n    missing: .*zscap fetch audibility-guidance"
    assert status == 0 and re.search("^embedded +ready +audio ", out, re.MULTILINE)
    assert re.search(missing, out, re.MULTILINE)


def test_options_are_listed_with_value_rule_and_meaning(run):
    status, out, _ = run("options")
    words = " ".join(out.split())
    assert status == 0 and "(a whole number, at least 1 and at most 32)" in words and "(true or false)" in words
    for name, kind in (("steering", SteeringOptions), ("proximal", ProximalOptions), ("magic", MagicOptions)):
        status, section, _ = run("options", name)
        assert status == 0 and section in out and section.startswith(f"{name}: {kind.__doc__.splitlines()[0]}")
        for option in dataclasses.fields(kind):
            assert f"\n  {option.name} = {json.dumps(option.default)}" in section
    _, out, _ = run("options", "embedded")
    assert "\n  min_p = 0.0005 " in out and out.startswith("embedded: Gradient steering")


def test_the_version_is_said(run):
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert run("--version")[:2] == (0, f"zscap {pyproject['project']['version']}\n")


@pytest.mark.parametrize("command", [["--version"], ["options"], ["caption", "a.wav", "--preset", "embeded"]])
def test_what_needs_no_network_answers_at_once(command):
    code = f"import sys; from zscap import cli; sys.argv = {['zscap', *command]}; cli.main()"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    slow = {"torch", "transformers", "pandas", "numpy", "scipy", "sklearn", "huggingface_hub", "pooch", "av", "PIL"}
    assert not slow & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert ("embeded" in done.stderr) == (done.returncode == 1)


def test_a_closed_pipe_a_full_disk_and_closed_streams(tmp_path):
    command = [sys.executable, "-m", "zscap", "options"]
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full:
        piped, filled = (
            subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True) for stdout in (writer, full)
        )
    assert piped.returncode == 1 and "Traceback" not in piped.stderr
    assert filled.returncode == 1 and filled.stderr == "zscap: stdout: cannot be written (No space left on device)\n"
    out = tmp_path / "a.jsonl"
    command = f"'{sys.executable}' -m zscap caption '{CLIPS[0]}' {' '.join(QUICK)} --out '{out}' >&- 2>&-"
    assert subprocess.run(command, shell=True).returncode == 0 and out.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"index,mid,display_name\n0,/m/1,\n1,/m/2,NA\n2,/m/3,7\n", None),
        ("a.txt", b"\xef\xbb\xbfNA\n7\n", None),
        ("b.csv", b"a,b\n1,2\n", "no keywords can be read"),
        ("c.txt", b"\xff\xfe", "no keywords can be read"),
        ("d.txt", b"\n".join(b"%d" % n for n in range(10_001)), "holds 10001 keywords; give 1 to 10,000"),
        ("e.txt", b"dog\n" * 2**21, "at most 262,144 bytes"),
        ("f.csv", b'display_name\n"' + 200_000 * b"a" + b'"\n', "field larger than field limit"),
        ("/dev/zero", None, "no regular file"),
    ],
)
def test_files_of_keywords(tmp_path, name, content, says):
    if content:
        (tmp_path / name).write_bytes(content)
    with nullcontext() if says is None else pytest.raises(zscap.InvalidData, match=rf"^[^\n]*{says}[^\n]*$"):
        assert zscap.keywords.read_keywords(tmp_path / name) == ("NA", "7")


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
