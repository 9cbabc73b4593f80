"""What a reader expects of every notebook, checked without running one; what decays in silence is looked for, too."""

import importlib
import json
import re
import runpy
import subprocess
import sys
from operator import ne

import nbformat
import pytest
from nbval.plugin import IPyNbCell

from studies.runner import FOLDER, find, parameters

ROOT = FOLDER.parent
NOTEBOOKS = {path.stem: nbformat.read(path, 4).cells for path in sorted(FOLDER.glob("*.ipynb"))}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code(name: str) -> list:
    return [cell for cell in NOTEBOOKS[name] if cell.cell_type == "code"]


def prose(name: str) -> str:
    return "\n\n".join(cell.source for cell in NOTEBOOKS[name] if cell.cell_type == "markdown")


@every_notebook
def test_stored_as_executed(name):
    """What nbval cannot see: a notebook without outputs would pass its check."""
    cells = code(name)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not re.search(r"/(home|root|work|tmp)/", json.dumps(NOTEBOOKS[name]))
    ignored = re.compile("NBVAL_IGNORE_OUTPUT|nbval-ignore-output")
    assert len([cell for cell in cells if cell.outputs and not ignored.search(json.dumps(cell))]) >= 5


def test_nbval_lets_the_last_of_two_or_more_decimals_differ_by_one(monkeypatch):
    monkeypatch.setattr(IPyNbCell, "sanitize", IPyNbCell.sanitize)  # which the file replaces once more
    printed = runpy.run_path(str(FOLDER / "conftest.py"))["Printed"]
    for one, other in (("p 0.081, n 3", "p 0.080, n 3"), ("0.99", "1.00")):
        assert printed(one) == printed(other) and not ne(printed(one), printed(other))  # nbval asks both
    for one, other in (("0.081", "0.083"), ("0.1", "0.2"), ("3", "4"), ("0.08 a", "0.08 b"), ("0.08", "0.08 0.08")):
        assert printed(one) != printed(other)


@every_notebook
def test_its_defaults_leave_the_stored_results_alone(name):
    defaults = {key: each.default for key, each in parameters(FOLDER / f"{name}.ipynb").items()}
    tracked = {key for key, value in defaults.items() if str(value).startswith(("data", "figures"))}
    assert not tracked, f"a run with its defaults would write into {tracked}"
    written = "\n".join(cell.source for cell in code(name))
    assert not re.search(r"""(?:savefig|to_csv)\(repository / ["']""", written)


@every_notebook
def test_a_reader_finds_what_it_teaches_needs_and_takes_in_short_cells(name):
    begin = "\n".join(cell.source for cell in NOTEBOOKS[name][:2])
    assert re.match(rf"# {name[:2]} · ", begin) and "**You will learn** " in begin and "**You need** " in begin
    minutes = re.search(r"\*\*It takes\*\* (\d+) minutes? on two cores", begin)[1]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"\(notebooks/{name}\.ipynb\) \| .+ \| (\d+) \| (.+) \|\n", readme)
    assert row[1] == minutes, "README's table has other minutes"
    assert set(re.findall(r"`(\w+)`", row[2])) <= parameters(FOLDER / f"{name}.ipynb").keys()
    for cell in code(name):
        assert "parameters" in cell.metadata.get("tags", []) or len(cell.source.splitlines()) <= 15, cell.source
    if name < "9":
        asked, solved = re.search(r"## Exercises\n(.*?)<details>(.*?)</details>", prose(name), re.DOTALL).groups()
        numbers = [re.findall(r"^(\d)\. ", text, re.MULTILINE) for text in (asked, solved)]
        assert numbers[0] and numbers[0] == numbers[1], "exercises and solutions"
        assert "## What to take away\n" in prose(name) and "## Where to go next\n" in prose(name)


@every_notebook
def test_what_its_text_names_is_there(name):
    text = prose(name)
    for notebook in re.findall(r"\b(\d\d_[a-z_]+)\b", text) + re.findall(r"[Nn]otebooks? (\d\d)\b", text):
        assert find(notebook)
    folders = "data|zscap|studies|tests|figures|workflow"
    for file in re.findall(rf"(?:{folders})/[\w./-]*\w\.(?:csv|toml|py|txt|md|mplstyle)\b", text):
        assert (ROOT / file).exists(), file
    for module, *rest in (called.split(".") for called in re.findall(r"`((?:zscap|studies)(?:\.\w+)+)", text)):
        found = importlib.import_module(module)
        for part in rest:
            module = f"{module}.{part}"
            found = getattr(found, part, None) or importlib.import_module(module)


def test_no_name_is_unknown_or_imported_for_nothing():
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "--output-format", "concise"]
    done = subprocess.run([*command, FOLDER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
