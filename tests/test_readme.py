"""What the README promises is run: its Python, its commands, its links, and its numbers against data/results."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from studies.runner import checked, find
from zscap.evaluation.intervals import interval

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "data" / "results"
README = (ROOT / "README.md").read_text()
CARD = (ROOT / "zscap" / "assets" / "CARD.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line.split(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


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
    code = "import zscap, studies, sys; print(zscap.__file__, studies.__file__, 'torch' in sys.modules)"
    files = [clone / package / "__init__.py" for package in ("zscap", "studies")]
    assert run(clone, BIN / "python", "-c", code) == f"{files[0]} {files[1]} False\n"


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, clone):
    few = code.replace('"runs/guided")', '"runs/guided", clips=2)')
    run(clone, BIN / "python", "-c", few)


@pytest.mark.parametrize("command", commands("zscap"))
def test_commands_run(command, clone):
    few = {"zscap evaluate": ["--clips", "2"], "zscap paper": ["--clips", "1"]}
    few = next((given for start, given in few.items() if command.startswith(f"{start} ")), [])
    run(clone, BIN / "zscap", *shlex.split(command)[1:], *few)


def test_commands_were_found():
    assert len(blocks("python")) == 5 and len(commands("zscap")) > 10
    for target in commands("make"):
        assert f"\n{target.split()[1]}:" in (ROOT / "Makefile").read_text()
    for command in commands("papermill"):
        _, notebook, _, *given = shlex.split(command)
        assert checked(find(notebook), dict(zip(given[1::3], given[2::3], strict=True)))


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_no_interval_has_no_width():
    intervals = re.findall(r"\((-?[\d.]+)(?:-| to )(-?[\d.]+)\)", README)
    assert len(intervals) > 50 and all(float(low) < float(high) for low, high in intervals)


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{name}.csv")


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def cell(value: float, low: float, high: float, digits: int = 2) -> str:
    """A value with its interval, or alone where that has no width."""
    low, high = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{value:.{digits}f}" + (f" ({low}-{high})" if low != high else "")


def of(line, measure: str, digits: int = 2) -> str:
    return cell(line[measure], line[f"{measure}_low"], line[f"{measure}_high"], digits)


def embedded() -> Iterator[str]:
    for name in ("embedded", "keywords_and_magic", "prefix_captioner"):
        table = read(name).rename(columns={"way": "decoding"})
        if "settings" in table:
            table = table[table["settings"] == "chosen on fold 1"]
        for line in table[~table["decoding"].str.startswith("gain")].to_dict("records"):
            yield row(line["decoding"], of(line, "hit"), of(line, "judge"), f"{line['fluency']:.1f}")


def small() -> Iterator[str]:
    table = read("small").set_index(["decoding", "collection"])
    for way, lines in table.groupby(level="decoding"):
        kinds = {kind: line for (_, kind), line in lines.iterrows()}
        shares = [(name, "hit") for name in ("esc10", "esc50", "kitchen20")] + [("all", "audible")]
        yield row(way, *(of(kinds[name], measure) if name in kinds else "" for name, measure in shares))
    titles = read("small_titled").set_index("decoding")
    people = read("small_captioned").set_index(["decoding", "collection"])
    for way in people.index.unique("decoding"):
        numbers = [f"{people.loc[(way, 'audiocaps'), measure]:.3f}" for measure in ("meteor", "cider_d")]
        cells = [*numbers, of(people.loc[(way, "audiocaps")], "minilm")]
        named = (
            [of(titles.loc[way], measure) for measure in ("minilm", "among_five")] if way in titles.index else ["", ""]
        )
        yield row(way, *cells, *named)
    for line in read("small_speed").itertuples():
        yield f"{line.seconds:.2f} s"
    for line in read("small_classifier").query("classifier == 'small' and metric == 'auc'").itertuples():
        yield f"{line.value:.3f} on"
        yield f"{line.n:,}"


def others() -> Iterator[str]:
    for _, lines in read("metric_agreement").query("category == 'total'").groupby("metric"):
        yield row(*(cell(line.agreement, line.low, line.high, 3) for line in lines.sort_values("data").itertuples()))[
            2:
        ]
    digits = {"meteor": 3, "cider_d": 3, "classified_audible": 2, "judged_audible": 2, "hit": 2}
    for name, lines in read("papers/audibility-small").groupby("row"):
        found = lines.set_index("measure")[["value", "low", "high"]]
        yield row(name, *(cell(*found.loc[measure], width) for measure, width in digits.items()))
        if name == "matcher and classifier":
            yield f"names {cell(*found.loc['hit'])} of the project's own clips"
    ranks = read("small_new_names")["rank"]
    yield f"{cell((ranks < 5).mean(), *interval((ranks < 5).tolist()))} of {len(ranks)} clips"


def costs() -> Iterator[str]:
    seconds = read("speed").set_index(["decoding", "batch"])["seconds_per_caption"]
    way = "matcher and classifier"
    yield f"takes {seconds[way, 1]:.2f} s and {seconds[way, 16]:.2f} s in a batch"
    way += ", proximal"
    yield f"by proximal steering {seconds[way, 1]:.2f} s and {seconds[way, 16]:.2f} s"
    for line in read("benchmark").to_dict("records"):
        estimated = " (estimated)" if line["scaled"] != 1 else ""
        parts = [f"{line[part]:.2f}" for part in ("language model", "matcher", "classifier", "rest")]
        taken = f"{line['seconds']:.2f}{estimated}"
        yield row(line["size"], line["version"], line["clips"], taken, *parts, f"{line['texts_encoded']:.0f}")
    for line in read("benchmark_ratios").itertuples():
        times = [f"{times:.0f}" for times in (line.whole_caption, line.one_at_a_time, line.matching)]
        yield row(line.size, line.against, *times, f"{line.over_unavoidable:.1f}")
    identical = read("identical")
    yield f"{identical['identical'].sum()} of {identical['clips'].sum()} captions"
    yield f"{read('memory')['ratio'].iloc[-1]:.2f} times"


def card() -> Iterator[str]:
    yield from small()
    yield from list(embedded())[: len(read("embedded").query("not decoding.str.startswith('gain')"))]


@pytest.mark.parametrize(
    ("text", "numbers"), [(README, embedded), (README, small), (README, others), (README, costs), (CARD, card)]
)
def test_numbers_are_those_of_the_files(text, numbers):
    text = " ".join(text.split()).replace(" s alone and", " s and")
    missing = [number for number in numbers() if " ".join(number.split()) not in text]
    assert not missing
