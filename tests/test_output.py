"""Files of captions: what stands in them, how a later run goes on, and which files are never touched."""

import csv
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from zscap.caption import Caption
from zscap.errors import UnreadableSource, UnwritableOutput
from zscap.files.output import COLUMNS, Output

SETTINGS = {"preset": "p", "options": {"keywords": ("a", "b")}, "keywords": None, "device": "cpu"}
GOOD = Caption("a.wav", "audio of", 'a "dog",\nbarks', " a dog barks", (1, 2), 0.1234567, None, -1.5)
BAD = Caption("b.wav", error=UnreadableSource("b.wav: no such file"))
OTHER = Caption("c.wav", "", "rain", " rain", (3,))


@pytest.fixture(params=["jsonl", "csv"])
def path(request, tmp_path):
    return tmp_path / f"a.{request.param}"


def write(path: Path, *captions: Caption, settings: dict = SETTINGS) -> list[str]:
    """What a run does; gives the sources that were left to it."""
    with Output(path, settings, [caption.source for caption in captions]) as output:
        remaining = output.remaining([caption.source for caption in captions])
        for caption in captions:
            if caption.source in remaining:
                output.write(caption)
    return remaining


def rows(path: Path) -> list[dict]:
    """The rows, read as a stranger would."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_name_in_csv_gives_a_table(tmp_path):
    write(tmp_path / "a.csv", GOOD, BAD)
    table = pd.read_csv(tmp_path / "a.csv").set_index("source")
    assert table.loc["a.wav", "text"] == 'a "dog",\\nbarks' and table.loc["a.wav", "matching"] == 0.123457
    assert json.loads(table.loc["a.wav", "tokens"]) == [1, 2] and json.loads(table.options.iloc[0])
    assert table.loc["b.wav", "error"] == "b.wav: no such file" and pd.isna(table.loc["b.wav", "text"])
    write(tmp_path / "a.jsonl", GOOD, BAD)
    assert {*rows(tmp_path / "a.jsonl")[0], "error"} == {*table.columns, "source"}


def test_a_run_goes_on_wherever_it_was_killed(path):
    write(path, GOOD)  # the first row comes whole or not at all
    one = len(path.read_bytes())
    write(path, GOOD, OTHER)
    whole = path.read_bytes()
    for end in range(len(whole), one - 1, -3):
        path.write_bytes(whole[:end])
        assert write(path, GOOD, OTHER) == ([] if end == len(whole) else ["c.wav"])
        assert path.read_bytes() == whole
    path.write_bytes(b"")
    assert write(path, GOOD, OTHER) == ["a.wav", "c.wav"] and path.read_bytes() == whole


def test_a_source_has_one_row(path):
    write(path, BAD, GOOD)
    first = path.read_bytes()
    assert write(path, BAD, GOOD) == ["b.wav"]
    assert path.read_bytes() == first  # it failed again
    other = Caption("b.wav", error=UnreadableSource("b.wav: is silent"))
    path.chmod(0o640)
    write(path, other, GOOD)
    assert [row["source"] for row in rows(path)] == ["a.wav", "b.wav"]
    assert rows(path)[1]["error"] == "b.wav: is silent"
    mended = Caption("b.wav", "", "a dog", " a dog", (4,))
    assert write(path, GOOD) == []  # a run of other sources leaves the failed one alone
    assert len(rows(path)) == 2
    write(path, mended, GOOD)
    assert [row["source"] for row in rows(path)] == ["a.wav", "b.wav"] and rows(path)[1]["text"] == "a dog"
    assert path.stat().st_mode & 0o777 == 0o640 and os.listdir(path.parent) == [path.name]
    assert write(path, mended, GOOD) == []


def test_other_settings_are_refused_and_named(path):
    settings = SETTINGS | {"options": {"kappa": 0.4, "prompt": "audio of", "beam_size": 1}}
    write(path, GOOD, settings=settings)
    before = path.read_bytes()
    changes = {"device": "cuda", "keywords": "b.txt", "preset": "q", "options": settings["options"] | {"kappa": 0.9}}
    for name, value in changes.items():
        with pytest.raises(
            UnwritableOutput, match=f'holds captions made with .*"{name}".*choose another --out'
        ) as raised:
            Output(path, settings | {name: value})
    assert path.read_bytes() == before
    if path.suffix == ".jsonl":  # of many options only those that differ are named
        says = 'made with {"options": {"kappa": 0.4}}; choose another --out for {"options": {"kappa": 0.9}}'
        assert says in str(raised.value)


FOREIGN = [
    '{"my": "only copy"}',
    '{"my": "only',
    "my notes",
    "{",
    '{"source": "a.wav", "text": "mine"}',
    '{"source": "a.wav", "text": "mine"}\n',
    "source,text\na,b\n",
    '"',
    "\n",
    "\x00\xff",
    '{"source": ' + 10**5 * "[" + "\n",
    '{"source": "' + 10**5 * "[" + "\n",
]


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_somebody_else_is_never_changed(path, content):
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UnwritableOutput, match=r"line 1 is not a caption of zscap; choose another --out"):
        write(path, GOOD)
    assert path.read_bytes() == content.encode("latin-1")
    assert os.listdir(path.parent) == [path.name]


def test_every_line_is_checked(path):
    """What was added by hand is not taken for a row that was cut off, nor for one of zscap's."""
    write(path, GOOD)
    own = path.read_bytes()
    write(path, GOOD, OTHER)
    stray = path.read_bytes().replace(b'"', b"", 1)  # in a table, it makes one cell of all that follows
    cell = own + b"," * len(COLUMNS) + b'"' + 2**18 * b"x" + b'"\n'
    for content in (own + b"my note\n", own + b"my notes", own + b"c.wavy,my notes", own + b"\xff", stray, cell):
        path.write_bytes(content)
        with pytest.raises(UnwritableOutput, match=r"line \d is not a caption of zscap"):
            write(path, GOOD, OTHER)
        assert path.read_bytes() == content


def test_a_large_file_of_somebody_else_is_not_read(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.truncate(2**36)
    with pytest.raises(UnwritableOutput, match="line 1 is not a caption of zscap"):
        write(tmp_path / "a.jsonl", GOOD)


def test_an_output_that_is_an_input_or_no_file_is_refused(tmp_path):
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"")  # what even a careful reader would take for a new file
    os.link(clip, tmp_path / "hard.wav")
    (tmp_path / "soft.wav").symlink_to(clip)
    for path in (clip, tmp_path / "hard.wav", tmp_path / "soft.wav", tmp_path / "." / "a.wav"):
        with pytest.raises(UnwritableOutput, match="is one of the files to read; choose another --out"):
            Output(path, SETTINGS, [str(clip)])
    with pytest.raises(UnwritableOutput, match="is one of the files to read"):
        Output(tmp_path / "new.wav", SETTINGS, [tmp_path / "new.wav"])  # a source that is missing
    for path in (Path("/dev/full"), tmp_path):
        with pytest.raises(UnwritableOutput, match=f"{path}: is no regular file; choose another --out"):
            Output(path, SETTINGS)
    with pytest.raises(UnwritableOutput, match="lies in a file, which is no folder; choose another --out"):
        Output(clip / "a.csv", SETTINGS)
    with pytest.raises(UnwritableOutput, match=r"cannot be written \(File name too long\)"):
        Output(tmp_path / ("a" * 300), SETTINGS)


def test_two_runs_at_once(path):
    other = path.with_stem("b")
    other.symlink_to(path)
    code = f"""
import sys
from pathlib import Path
from zscap.files.output import COLUMNS, Output
with Output(Path({str(other)!r}), {SETTINGS}):
    print("locked", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(UnwritableOutput, match="another run is writing it; wait, or choose another --out"):
        write(path, GOOD)
    assert not path.exists()
    holder.kill()
    holder.communicate()
    write(path, GOOD)  # the lock of a killed run is nobody's
    assert len(rows(path)) == 1 and other.is_symlink()
    assert sorted(os.listdir(path.parent)) == [path.name, other.name]


def test_the_folder_is_made_and_no_file_before_the_first_row(tmp_path):
    with Output(tmp_path / "new" / "folder" / "a.csv", SETTINGS) as output:
        assert output.path.parent.is_dir() and not output.path.exists()
        output.write(GOOD)
    assert len(rows(output.path)) == 1


@pytest.mark.parametrize("name", [b"\xff\n,\r.wav", b"a\rb.wav"])
def test_names_that_are_no_utf8(path, name):
    odd = Caption(os.fsdecode(name), "", "rain", " rain", (3,))
    assert write(path, odd) == [odd.source]
    assert write(path, odd, OTHER) == ["c.wav"]
    with Output(path, SETTINGS) as output:
        assert output.remaining([odd.source, "c.wav"]) == [] and output.row(odd.source)["text"] == "rain"


def test_a_full_disk_is_said_and_the_run_goes_on_later(path):
    write(path, GOOD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, limits[1]))
    try:
        with pytest.raises(UnwritableOutput, match=re.escape(f"{path}: cannot be written (File too large)")):
            write(path, GOOD, OTHER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert write(path, GOOD, OTHER) == ["c.wav"]
    assert [row["source"] for row in rows(path)] == ["a.wav", "c.wav"]


def test_a_link_where_the_new_file_goes_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".a.jsonl.zscap-new").symlink_to(tmp_path / "victim")
    write(tmp_path / "a.jsonl", GOOD)
    assert (tmp_path / "victim").read_text() == "mine" and len(rows(tmp_path / "a.jsonl")) == 1
    assert not (tmp_path / "a.jsonl").is_symlink()
