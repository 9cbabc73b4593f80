"""A few hundred of the fuzz script's inputs, and a few of its killed runs."""

from pathlib import Path
from random import Random

import fuzz
import fuzz_inputs
import kills
import pytest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return fuzz_inputs.World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("hundred", range(3))
def test_damaged_and_hostile_inputs(world, hundred):
    done = [fuzz.one(world, 0, number) for number in range(100 * hundred, 100 * hundred + 100)]
    assert [row for row in done if not row["outcome"].startswith(("right", "refused: "))] == []
    assert any(row["outcome"] == "right" for row in done) and any(row["outcome"] != "right" for row in done)


def test_what_must_not_be_is_a_fault(world, monkeypatch):
    """The script would see it: a raw error, lines of libraries, time, memory, a changed file, an error of two lines."""

    def does(family):
        monkeypatch.setattr(fuzz_inputs, "SHARES", {family: 1})
        return fuzz.one(world, 0, 0)["outcome"]

    def raw(random, folder, world):
        raise KeyError("raw")

    def noisy(random, folder, world):
        fuzz.os.write(2, b"a library's own line")

    def slow(random, folder, world):
        fuzz.time.sleep(0.1)

    def large(random, folder, world):
        bytearray(b"x" * 2**28)

    def changing(random, folder, world):
        (world.folder / "gsm.wav").write_bytes(b"")

    def unclear(random, folder, world):
        error = fuzz_inputs.UnreadableSource("")
        error.args = ("two\nlines",)
        raise error

    monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.05)
    monkeypatch.setattr(fuzz, "MAX_BYTES", 2**26)
    for family, says in (
        (raw, "KeyError: 'raw'"),
        (noisy, 'it printed "a library\'s own line"'),
        (slow, "0 s"),
        (large, " bytes"),
        (unclear, r"not one line: 'two\nlines'"),
    ):
        assert says in does(family), family
    kept = (world.folder / "gsm.wav").read_bytes()
    assert does(changing) == "other files were changed"
    (world.folder / "gsm.wav").write_bytes(kept)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ""])
def test_killed_runs_end_as_one_that_nobody_disturbed(tmp_path, suffix):
    kills.trial(Random(suffix), Path(tmp_path), suffix, 3)
