"""Behind each line of docs/SECURITY.md stands a test, and its numbers are the scripts'."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import fuzz
import kills
import pandas as pd

import zscap

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "SECURITY.md").read_text()


def test_behind_each_line_stands_a_test():
    lines = [" ".join(line.split()) for line in re.findall(r"^- (.*?)(?=^- |^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)]
    assert len(lines) > 20
    for line in lines:
        sentence, *named = re.split(r"`(\w+: test_\w+)`,? ?", line)
        assert named and sentence.endswith(". ") and not "".join(named[1::2]), line
        for file, name in (each.split(": ") for each in named[::2]):
            assert re.search(rf"^def {name}\(", (ROOT / "tests" / f"{file}.py").read_text(), re.MULTILINE), name


def test_the_fuzz_does_as_much_as_is_said_and_one_input_is_done_again():
    assert f"{fuzz.INPUTS:,} damaged and hostile inputs" in TEXT and f"kills {kills.KILLS} runs" in TEXT
    command = [sys.executable, str(ROOT / "tests" / "fuzz.py"), "--seed", "0", "--only", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.match("right|refused: ", done.stdout.strip().splitlines()[-1])


def test_the_captioner_says_what_float32_costs():
    table = pd.read_csv(ROOT / "data" / "results" / "invariance.csv")
    assert set(table.captions) == {100} and set(table.threads) == {1, 2}
    worst = table.groupby("networks").differ.max()
    said = " ".join(inspect.getdoc(zscap.Captioner).split())
    assert f"up to {worst.pop('embedded, steering')} of 100 captions of the embedded networks" in said
    assert set(worst) == {0} and len(worst) == 5
