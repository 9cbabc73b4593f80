"""A few of the fuzz script's inputs, and of its killed runs; `make fuzz` does the others."""

import time
from random import Random

import fuzz
import fuzz_inputs
import kills
import pytest

import zscap


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return fuzz_inputs.World(tmp_path_factory.mktemp("world"))


def test_damaged_and_hostile_inputs(world):
    done = [fuzz.one(world, 0, number) for number in range(80)]
    assert [row for row in done if fuzz.is_fault(row)] == []
    assert {row["family"] for row in done} == {family.__name__ for family in fuzz_inputs.SHARES}
    assert 10 < sum(row["outcome"] == "right" for row in done) < 70


def unclear(*_):
    error = zscap.UnreadableSource("")
    error.args = ("two\nlines",)
    raise error


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (lambda *_: {}["raw"], "KeyError: 'raw'"),
        (lambda *_: time.sleep(0.3), "0 s"),
        (unclear, r"not one line: 'two\nlines'"),
    ],
    ids=["raw", "slow", "unclear"],
)
def test_what_must_not_be_is_a_fault(world, monkeypatch, family, says):
    monkeypatch.setattr(fuzz_inputs, "SHARES", {family: 1})
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.2)
    row = fuzz.one(world, 0, 0)
    assert fuzz.is_fault(row) and says in row["outcome"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ""])
def test_killed_runs_end_as_one_that_nobody_disturbed(tmp_path, suffix):
    kills.prepare()
    kills.trial(Random(suffix), tmp_path, suffix, 1)
