"""What the README promises is run: its Python, its commands, its links, and its numbers against data/results."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import papermill
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(("zscap ", "papermill "))]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks like the clone, so that what the README writes does not land in it."""
    for name in ("data", "zscap", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, clone):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("command", commands())
def test_commands_run(command, clone):
    program, *arguments = shlex.split(command)
    if program == "papermill":
        unknown = set(arguments[3::3]) - set(papermill.inspect_notebook(arguments[0]))
        assert not unknown, f"papermill would only log the unknown parameters {unknown}"
    done = subprocess.run([BIN / program, *arguments], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_were_found():
    assert len(blocks("python")) == 3 and len(commands()) >= 4
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE):
        assert f"\n{target}:" in targets


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_notebook_is_in_the_table():
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{notebook.name})" in README


@pytest.mark.parametrize("file", ["embedded", "keywords_and_magic", "prefix_captioner"])
def test_the_tables_of_results_are_those_of_the_files(file):
    table = pd.read_csv(ROOT / "data" / "results" / f"{file}.csv")
    if "settings" in table:
        table = table[table["settings"] == "chosen on fold 1"].rename(columns={"way": "decoding"})
    for row in table[~table["decoding"].str.startswith("gain")].itertuples():
        cells = [
            row.decoding,
            f"{row.hit:.2f} ({row.hit_low:.2f}-{row.hit_high:.2f})",
            f"{row.judge:.2f} ({row.judge_low:.2f}-{row.judge_high:.2f})",
            f"{row.fluency:.1f}",
        ]
        assert f"| {' | '.join(cells)} |" in README


def test_the_seconds_are_those_of_the_file():
    table = pd.read_csv(ROOT / "data" / "results" / "speed.csv")
    seconds = table.set_index(["decoding", "batch"])["seconds_per_caption"]
    text = " ".join(README.split())
    for way, phrase in (
        ("matcher and classifier", "takes {:.2f} s alone and {:.2f} s in a batch"),
        ("matcher and classifier, proximal", "by proximal steering {:.2f} s and {:.2f} s"),
    ):
        assert phrase.format(seconds[way, 1], seconds[way, 16]) in text


def test_the_table_of_costs_is_that_of_the_file():
    for row in pd.read_csv(ROOT / "data" / "results" / "benchmark.csv").to_dict("records"):
        estimated = " (estimated)" if row["scaled"] != 1 else ""
        parts = [f"{row[part]:.2f}" for part in ("language model", "matcher", "classifier", "rest")]
        cells = [row["size"], row["version"], f"{row['clips']}", f"{row['seconds']:.2f}{estimated}", *parts]
        assert f"| {' | '.join(cells)} | {row['texts_encoded']:.0f} |" in README
    for row in pd.read_csv(ROOT / "data" / "results" / "benchmark_ratios.csv").itertuples():
        cells = [
            row.size,
            row.against,
            f"{row.whole_caption:.0f}",
            f"{row.matching:.0f}",
            f"{row.over_unavoidable:.1f}",
        ]
        assert f"| {' | '.join(cells)} |" in README
    identical = pd.read_csv(ROOT / "data" / "results" / "identical.csv")
    assert f"{identical['identical'].sum()} of {identical['clips'].sum()} captions" in README
    memory = pd.read_csv(ROOT / "data" / "results" / "memory.csv")
    assert f"{memory['ratio'].iloc[-1]:.2f} times" in README
