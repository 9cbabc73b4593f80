"""What a reader expects of every notebook, checked without running one; what decays in silence is looked for, too."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from studies.runner import FOLDER, checked, find, parameters

ROOT = FOLDER.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TUTORIALS = [path for path in NOTEBOOKS if path.stem < "9"]


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell | {"text": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def prose(path: Path) -> str:
    return "\n\n".join(cell["text"] for cell in cells(path, "markdown"))


@each(NOTEBOOKS)
def test_stored_as_executed(path):
    """What nbval cannot see: a notebook without outputs would pass its check."""
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    assert not re.search(r"/(home|root|work|tmp)/", path.read_text(encoding="utf-8"))


@each(NOTEBOOKS)
def test_enough_outputs_are_compared(path):
    ignored = re.compile("NBVAL_IGNORE_OUTPUT|nbval-ignore-output")
    compared = [cell for cell in cells(path, "code") if cell["outputs"] and not ignored.search(json.dumps(cell))]
    assert len(compared) >= 5


@each(NOTEBOOKS)
def test_begins_with_what_it_teaches_needs_and_takes(path):
    begin = "\n".join(cell["text"] for cell in cells(path, "markdown")[:2])
    assert re.match(rf"# {path.stem[:2]} · ", begin)
    assert "**You will learn** " in begin and "**You need** " in begin
    minutes = re.search(r"\*\*It takes\*\* (\d+) minutes? on two cores", begin)[1]
    assert re.search(rf"notebooks/{path.name}\) \|.*\| {minutes} \|", README), "README's table has other minutes"


@each(TUTORIALS)
def test_ends_with_what_to_take_away_and_where_to_go_next(path):
    text = prose(path)
    assert "## What to take away\n" in text and "## Where to go next\n" in text


@each(TUTORIALS)
def test_exercises_have_solutions(path):
    asked, solved = re.search(r"## Exercises\n(.*?)<details>(.*?)</details>", prose(path), re.DOTALL).groups()
    numbers = [re.findall(r"^(\d)\. ", text, re.MULTILINE) for text in (asked, solved)]
    assert 2 <= len(numbers[0]) <= 3 and numbers[0] == numbers[1]
    assert "```python" in solved


@each(NOTEBOOKS)
def test_cells_are_short(path):
    code = [cell["text"] for cell in cells(path, "code") if "parameters" not in cell["metadata"].get("tags", [])]
    assert max(len(text.splitlines()) for text in code) <= 15


@each(TUTORIALS)
def test_text_stands_before_code(path):
    kinds = [
        "parameters" if "parameters" in cell["metadata"].get("tags", []) else cell["cell_type"]
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]
    assert "code code code code" not in " ".join(kinds)


def test_no_name_is_unknown_or_imported_for_nothing():
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "--output-format", "concise"]
    done = subprocess.run([*command, FOLDER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@each(NOTEBOOKS)
def test_files_and_notebooks_that_the_text_names_are_there(path):
    text = prose(path)
    for name in re.findall(r"\b(\d\d_[a-z_]+)\b", text):
        assert (FOLDER / f"{name}.ipynb").exists(), name
    for number in re.findall(r"[Nn]otebooks? (\d\d)\b", text):
        assert find(number)
    for name in re.findall(
        r"(?:data|zscap|tests|figures|workflow)/[\w./-]*\w\.(?:csv|toml|py|txt|md|mplstyle)\b", text
    ):
        assert (ROOT / name).exists(), name


@each(NOTEBOOKS)
def test_commands_in_the_text_have_known_parameters(path):
    for number, rest in re.findall(r"zscap run (\d\d)((?: -p \w+ (?:'[^']*'|\"[^\"]*\"|[^\s`]+))*)", prose(path)):
        known = parameters(find(number))
        for name, value in re.findall(r"-p (\w+) ('[^']*'|\"[^\"]*\"|[^\s`]+)", rest):
            assert name in known, f"{number} has no {name}"
            if not re.search(r"\$|\.wav", value):
                checked(find(number), {name: known[name].parse(value.strip("'\""))})


@each(NOTEBOOKS)
def test_what_the_text_calls_by_zscaps_name_exists(path):
    import zscap

    for name in re.findall(r"`(zscap(?:\.\w+)+)", prose(path)):
        module, *rest = name.split(".")
        found = zscap
        for part in rest:
            found = getattr(found, part, None) or __import__(f"{module}.{part}", fromlist=[part])
            module = f"{module}.{part}"
        assert found is not None, name
