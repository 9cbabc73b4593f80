"""Parameters of notebooks: refused before the first cell runs, in one line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from solved import small_notebook

from studies.runner import FOLDER, NotebookFailed, checked, find, parameters, run_notebook
from zscap import cli
from zscap.errors import InvalidOption

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def small(tmp_path) -> Path:
    """A notebook with a parameter of every kind."""
    source = """
count = 3  # 1 to 9: how many
share = 0.5  # 0 or more: of them
way = "fast"  # one of fast, slow: how
file = ""  # a file; may be left out
home = "."  # a folder
clips = ["rain-1"]  # a name in data/soundscapes; several
options = {"a": 1}  # anything
limits = {"long": 3, "ways": [1]}  # only these: for some
rate = 0.1  # above 0
fold = "4"  # one of 3, 4 or empty: held out
loud = False"""
    return small_notebook(tmp_path / "small.ipynb", source, "1 / count", "assert count != 2")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("coutn", 3, "unknown parameter 'coutn': did you mean 'count'"),
        ("count", "3", "count='3': must be of type int"),
        ("count", 2.5, "must be of type int"),
        ("count", True, "must be of type int"),
        ("count", 10, "count=10: must be 1 to 9"),
        ("share", -1, "must be 0 or more"),
        ("share", float("nan"), "must be 0 or more"),
        ("way", "fsat", "must be one of fast, slow; did you mean 'fast'"),
        ("file", "nowhere.wav", "must be a file that is there"),
        ("file", ".", "must be a file that is there"),
        ("home", "small.ipynb", "must be a folder that is there"),
        ("clips", "rain-1", r"must be of type list, e.g. '\[rain-1\]'"),
        ("clips", ["rain-1", "rain-1000"], "clips='rain-1000': must be a name in data/soundscapes"),
        ("clips", [3], "clips=3: must be of type str"),
        ("options", [], "must be of type dict"),
        ("limits", {"lnog": 3}, "limits: unknown name 'lnog': did you mean 'long'"),
        ("limits", {"ways": 3}, r"limits\.ways=3: must be of type list"),
        ("rate", "slow", "must be of type float"),
        ("rate", 0, "rate=0: must be above 0"),
        ("fold", "5", "must be one of 3, 4 or empty"),
        ("loud", 1, "must be of type bool"),
    ],
)
def test_wrong_parameters_are_refused(small, name, value, said):
    with pytest.raises(InvalidOption, match=f"^small: .*{said}"):
        checked(small, {name: value})


def test_right_parameters_are_taken_and_paths_made_absolute(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    given = {"count": 9, "share": 1, "way": "slow", "clips": ["rain-3.flac", "dog_bark-1"], "options": {}, "file": ""}
    given |= {"loud": True, "limits": {"long": 1}, "rate": 2, "fold": ""}
    assert checked(small, given) == given
    assert checked(small, {"rate": parameters(small)["rate"].parse("1e-4")}) == {"rate": 0.0001}
    assert checked(small, {"file": "small.ipynb"}) == {"file": str(small.resolve())}


def test_a_run_keeps_what_it_got_to_and_says_which_cell_failed(small, tmp_path):
    out = tmp_path / "new" / "out.ipynb"
    with pytest.raises(NotebookFailed, match=r"out\.ipynb: cell 4: AssertionError"):
        run_notebook(small, {"count": 2}, out)
    assert "0.5" in [
        o.data["text/plain"] for c in nbformat.read(out, 4).cells for o in c.get("outputs", []) if "data" in o
    ]


def test_notebooks_are_found_by_number_name_and_path(small):
    file = FOLDER / "03_guided_decoding.ipynb"
    assert find("03") == find("03_guided_decoding") == find("03_guided_decoding.ipynb") == file
    assert find(small) == small
    with pytest.raises(InvalidOption, match="did you mean '03_guided_decoding'"):
        find("3_guided_decode")
    small.write_text("no notebook")
    with pytest.raises(InvalidOption, match=r"small\.ipynb: its parameters can't be read"):
        parameters(small)


def test_the_command_takes_values_in_every_way(small, tmp_path, monkeypatch, capsys):
    def said(*command):
        monkeypatch.setattr(sys, "argv", ["zscap", "run", *map(str, command)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out + captured.err

    seen = []
    monkeypatch.setattr("studies.runner.run_notebook", lambda name, given, out, progress: seen.append(given))
    (tmp_path / "given.yaml").write_text("count: 4\nway: slow\n")
    written = ["-p", "count", "5", "-p", "clips=[rain-1]", "-p", "way", "fast", "-f", tmp_path / "given.yaml"]
    assert said(small, *written)[0] == 0
    assert seen == [{"count": 5, "way": "fast", "clips": ["rain-1"]}]
    assert said(small, "-p", "count")[0] == said(small, "count")[0] == 1
    assert said(small, "-f", tmp_path / "none.yaml")[0] == 1
    assert "count = 3  # 1 to 9: how many" in said(small, "--parameters")[1]
    assert "03_guided_decoding" in said()[1]


def test_a_refusal_runs_nothing(tmp_path):
    command = [sys.executable, "-m", "zscap", "run", "03", "-p", "token", "40", "--out", tmp_path / "out.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1 and done.stderr == "zscap: 03_guided_decoding: token=40: must be 0 to 7\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebooks_parameters_are_explained_written_as_text_and_keep_their_rules(path):
    known = parameters(path)
    assert known
    for name, each in known.items():
        assert each.comment, name
        written = each.default if isinstance(each.default, str) else json.dumps(each.default)
        assert checked(path, {name: each.parse(written)}) == {name: each.default}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_in_a_notebooks_text_have_known_parameters(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    for number, rest in re.findall(r"zscap run (\d\d)((?: -p \w+ (?:'[^']*'|\"[^\"]*\"|[^\s`]+))*)", text):
        known = parameters(find(number))
        for name, value in re.findall(r"-p (\w+) ('[^']*'|\"[^\"]*\"|[^\s`]+)", rest):
            assert name in known, f"{number} has no {name}"
            if not re.search(r"\$|\.wav", value):
                checked(find(number), {name: known[name].parse(value.strip("'\""))})
