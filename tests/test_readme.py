"""What the README promises is run: its Python, its commands, its links, and its numbers against data/results."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import papermill
import pytest

from studies.runner import parameters
from zscap.evaluation.intervals import interval

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(("zscap ", "papermill "))]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """A clone of the repository as it stands, uncommitted work included: what git doesn't know isn't there."""
    folder = tmp_path_factory.mktemp("clone") / "zscap"
    git(ROOT, "clone", "--quiet", "--local", str(ROOT), str(folder))
    for name in git(ROOT, "ls-files", "-z", "--modified", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        elif name:
            (folder / name).unlink()
    git(folder, "add", "--all")
    author = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false")
    git(folder, *author, "commit", "--quiet", "--allow-empty", "--message", "as it stands")
    return folder


def run(clone: Path, *command: str | Path) -> str:
    """Runs a command in the clone with the clone's package; it must leave all that git tracks as it was."""
    environment = os.environ | {"PYTHONPATH": str(clone), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=clone, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert not git(clone, "status", "--porcelain")
    return done.stdout


def test_the_clone_runs_its_own_package(clone):
    code = "import zscap, sys; print(zscap.__file__, 'torch' in sys.modules)"
    assert run(clone, BIN / "python", "-c", code) == f"{clone / 'zscap' / '__init__.py'} False\n"


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, clone):
    run(clone, BIN / "python", "-c", code)


@pytest.mark.timeout(900)  # the longest captions sixty clips, half a minute on an idle machine
@pytest.mark.parametrize("command", commands())
def test_commands_run(command, clone):
    program, *arguments = shlex.split(command)
    if program == "papermill":
        unknown = set(arguments[3::3]) - set(papermill.inspect_notebook(clone / arguments[0]))
        assert not unknown, f"papermill would only log the unknown parameters {unknown}"
    run(clone, BIN / program, *arguments)


def test_commands_were_found():
    assert len(blocks("python")) == 5 and len(commands()) >= 4
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
        row = re.search(rf"\(notebooks/{notebook.name}\) \| .+ \| \d+ \| (.+) \|\n", README)
        assert set(re.findall(r"`(\w+)`", row[1])) <= parameters(notebook).keys()


def cell(value: float, low: float, high: float, digits: int = 2) -> str:
    """A value with its interval, or alone where that has no width."""
    ends = f"{low:.{digits}f}-{high:.{digits}f}"
    return f"{value:.{digits}f}" + (f" ({ends})" if len(set(ends.split("-"))) == 2 else "")


def test_no_interval_has_no_width():
    intervals = re.findall(r"\((-?[\d.]+)(?:-| to )(-?[\d.]+)\)", README)
    assert len(intervals) > 50 and all(float(low) < float(high) for low, high in intervals)


@pytest.mark.parametrize("file", ["embedded", "keywords_and_magic", "prefix_captioner"])
def test_the_tables_of_results_are_those_of_the_files(file):
    table = pd.read_csv(ROOT / "data" / "results" / f"{file}.csv")
    if "settings" in table:
        table = table[table["settings"] == "chosen on fold 1"].rename(columns={"way": "decoding"})
    for row in table[~table["decoding"].str.startswith("gain")].itertuples():
        cells = [row.decoding, cell(row.hit, row.hit_low, row.hit_high), cell(row.judge, row.judge_low, row.judge_high)]
        cells.append(f"{row.fluency:.1f}")
        assert f"| {' | '.join(cells)} |" in README
        assert file != "embedded" or f"| {' | '.join(cells)} |" in (ROOT / "zscap/assets/CARD.md").read_text()


@pytest.mark.parametrize("file", ["README.md", "zscap/assets/CARD.md"])
def test_the_figures_of_small_are_those_of_the_files(file):
    text = " ".join((ROOT / file).read_text().split())
    results = ROOT / "data" / "results"
    table = pd.read_csv(results / "small.csv").set_index(["decoding", "collection"])
    for way in table.index.unique("decoding"):
        shares = [(way, name, "hit") for name in ("esc10", "esc50", "kitchen20")] + [(way, "all", "audible")]
        cells = [
            "{:.2f} ({:.2f}-{:.2f})".format(*table.loc[(w, c), [m, f"{m}_low", f"{m}_high"]])
            if (w, c) in table.index
            else ""
            for w, c, m in shares
        ]
        row = f"| {way} | {' | '.join(cells)} | {table.loc[(way, 'all'), 'log_likelihood']:.1f} |"
        assert " ".join(row.split()) in text
    speed = pd.read_csv(results / "small_speed.csv").set_index(["decoding", "threads", "batch"])["seconds"]
    for way in ("matcher and classifier", "language model alone"):
        for threads in (1, 2):
            alone, together = speed[way, threads, 1], speed[way, threads, 16]
            assert re.search(rf"{alone:.2f} s (?:alone )?and {together:.2f} s", text)
    scores = pd.read_csv(results / "small_classifier.csv").query("classifier == 'small' and metric == 'auc'")
    for row in scores.itertuples():
        assert f"{row.value:.3f} on" in text and f"{row.n:,}" in text


def test_the_agreement_of_metrics_with_people_is_that_of_the_file():
    table = pd.read_csv(ROOT / "data" / "results" / "metric_agreement.csv").query("category == 'total'")
    for _, rows in table.groupby("metric"):
        cells = [f"{row.agreement:.3f} ({row.low:.3f}-{row.high:.3f})" for row in rows.sort_values("data").itertuples()]
        assert len(cells) == 2 and f"| {' | '.join(cells)} |" in README
        assert (rows["low"] < rows["high"]).all()


def test_the_table_of_a_paper_is_that_of_the_file():
    table = pd.read_csv(ROOT / "data" / "results" / "papers" / "audibility-small.csv")
    digits = {"meteor": 3, "cider_d": 3, "classified_audible": 2, "judged_audible": 2, "hit": 2}
    for name, rows in table.groupby("row"):
        found = rows.set_index("measure")
        cells = [cell(*found.loc[measure, ["value", "low", "high"]], width) for measure, width in digits.items()]
        assert f"| {name} | {' | '.join(cells)} |" in README


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
            f"{row.one_at_a_time:.0f}",
            f"{row.matching:.0f}",
            f"{row.over_unavoidable:.1f}",
        ]
        assert f"| {' | '.join(cells)} |" in README
    identical = pd.read_csv(ROOT / "data" / "results" / "identical.csv")
    assert f"{identical['identical'].sum()} of {identical['clips'].sum()} captions" in README
    memory = pd.read_csv(ROOT / "data" / "results" / "memory.csv")
    assert f"{memory['ratio'].iloc[-1]:.2f} times" in README


def test_what_small_knows_is_that_of_the_files():
    results = ROOT / "data" / "results"
    ranks = pd.read_csv(results / "small_new_names.csv")["rank"]
    low, high = interval((ranks < 5).tolist())
    text = " ".join(README.split())
    assert f"{(ranks < 5).mean():.2f} ({low:.2f}-{high:.2f}) of {len(ranks)} clips" in text
    table = pd.read_csv(results / "papers" / "audibility-small.csv").set_index(["row", "measure"])
    hit = table.loc[("matcher and classifier", "hit")]
    assert f"names {cell(hit['value'], hit['low'], hit['high'])} of the project's own clips" in text
