"""Files of captions: what stands in them, how a later run goes on, and which files are never touched."""

import csv
import json
import multiprocessing
import os
import re
import resource
import time
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


def check_refused(path: Path, says: str, inputs: tuple = (), settings: dict = SETTINGS) -> None:
    with pytest.raises(UnwritableOutput, match=says):
        Output(path, settings, inputs)


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
    path.chmod(0o640)
    write(path, Caption("b.wav", error=UnreadableSource("b.wav: is silent")), GOOD)
    assert [row["source"] for row in rows(path)] == ["a.wav", "b.wav"] and rows(path)[1]["error"] == "b.wav: is silent"
    assert write(path, GOOD) == [] and len(rows(path)) == 2  # a run of other sources leaves the failed one alone
    mended = Caption("b.wav", "", "a dog", " a dog", (4,))
    assert write(path, mended, GOOD) == ["b.wav"] and write(path, mended, GOOD) == []
    assert [(row["source"], row["text"]) for row in rows(path)][1:] == [("b.wav", "a dog")]
    assert path.stat().st_mode & 0o777 == 0o640 and os.listdir(path.parent) == [path.name]


def test_other_settings_are_refused_and_named(path):
    settings = SETTINGS | {"options": {"kappa": 0.4, "prompt": "audio of", "beam_size": 1}}
    write(path, GOOD, settings=settings)
    before = path.read_bytes()
    changes = {"device": "cuda", "keywords": "b.txt", "preset": "q", "options": settings["options"] | {"kappa": 0.9}}
    for name, value in changes.items():
        says = f'holds captions made with .*"{name}".*choose another --out'
        if name == "options" and path.suffix == ".jsonl":  # of many only those that differ are named
            says = 'made with {"options": {"kappa": 0.4}}; choose another --out for {"options": {"kappa": 0.9}}'
        check_refused(path, says, settings=settings | {name: value})
    assert path.read_bytes() == before


FOREIGN = [
    '{"my": "only copy"}',
    "{",
    '{"source": "a.wav", "text": "mine"}',
    '{"source": "a.wav", "text": "mine"}\n',
    "source,text\na,b\n",
    "\n",
    "\x00\xff",
    '{"source": "' + 10**5 * "[" + "\n",
]


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_somebody_else_is_never_changed(path, content):
    path.write_bytes(content.encode("latin-1"))
    check_refused(path, "line 1 is not a caption of zscap; choose another --out")
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
        check_refused(path, r"line \d is not a caption of zscap", ("a.wav", "c.wav"))
        assert path.read_bytes() == content


def test_a_large_file_of_somebody_else_is_not_read(path):
    path.touch()
    os.truncate(path, 2**36)
    check_refused(path, "line 1 is not a caption of zscap")


def test_an_output_that_is_an_input_or_no_file_is_refused(tmp_path):
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"")  # what even a careful reader would take for a new file
    os.link(clip, tmp_path / "hard.wav")
    (tmp_path / "soft.wav").symlink_to(clip)
    for path in (clip, tmp_path / "hard.wav", tmp_path / "soft.wav", tmp_path / "." / "a.wav"):
        check_refused(path, "is one of the files to read; choose another --out", (str(clip),))
    missing = tmp_path / "new.wav"
    check_refused(missing, "is one of the files to read", (missing,))
    for path in (Path("/dev/full"), tmp_path):
        check_refused(path, f"{path}: is no regular file; choose another --out")
    check_refused(clip / "a.csv", "lies in a file, which is no folder; choose another --out")
    check_refused(tmp_path / ("a" * 300), r"cannot be written \(File name too long\)")


def hold(path: Path, held) -> None:
    with Output(path, SETTINGS):
        held.set()
        time.sleep(100)


def test_two_runs_at_once(path):
    other = path.with_stem("b")
    other.symlink_to(path)
    fork = multiprocessing.get_context("fork")
    run = fork.Process(target=hold, args=(other, held := fork.Event()), daemon=True)
    run.start()
    assert held.wait(50)
    check_refused(path, "another run is writing it; wait, or choose another --out")
    assert not path.exists()
    run.kill()
    run.join()
    write(path, GOOD)  # the lock of a killed run is nobody's
    assert len(rows(path)) == 1 and other.is_symlink()
    assert sorted(os.listdir(path.parent)) == [path.name, other.name]


def test_the_folder_is_made_and_no_file_before_the_first_row(tmp_path):
    (tmp_path / "victim").write_text("mine")
    with Output(tmp_path / "new" / "folder" / "a.csv", SETTINGS) as output:
        assert output.path.parent.is_dir() and not output.path.exists()
        output.path.with_name(".a.csv.zscap-new").symlink_to(tmp_path / "victim")  # is not followed
        output.write(GOOD)
    assert len(rows(output.path)) == 1 and not output.path.is_symlink()
    assert (tmp_path / "victim").read_text() == "mine"


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
