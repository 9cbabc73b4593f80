"""Parameters of notebooks: refused before the first cell runs, in one line."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from zscap import cli
from zscap.errors import InvalidOption, NotebookFailed
from zscap.notebooks import FOLDER, checked, find, parameters, run_notebook

NOTEBOOKS = sorted(FOLDER.glob("[01]*.ipynb"))


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
loud = False"""
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("1 / count"),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "small.ipynb")
    return tmp_path / "small.ipynb"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"coutn": 3}, "unknown parameter 'coutn': did you mean 'count'"),
        ({"count": "3"}, "count='3': must be of type int"),
        ({"count": 2.5}, "must be of type int"),
        ({"count": True}, "must be of type int"),
        ({"count": 10}, "count=10: must be 1 to 9"),
        ({"share": -1}, "must be 0 or more"),
        ({"way": "fsat"}, "must be one of fast, slow; did you mean 'fast'"),
        ({"file": "nowhere.wav"}, "must be a file that is there"),
        ({"file": "."}, "must be a file that is there"),
        ({"home": "small.ipynb"}, "must be a folder that is there"),
        ({"clips": "rain-1"}, r"must be of type list, e.g. '\[rain-1\]'"),
        ({"clips": ["rain-1", "rain-1000"]}, "must be a name in data/soundscapes"),
        ({"clips": [3]}, "3 must be of type str"),
        ({"options": []}, "must be of type dict"),
        ({"loud": 1}, "must be of type bool"),
    ],
)
def test_wrong_parameters_are_refused(small, given, said):
    with pytest.raises(InvalidOption, match=f"^small: .*{said}"):
        checked(small, given)


def test_right_parameters_are_taken_and_paths_made_absolute(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    given = {"count": 9, "share": 1, "way": "slow", "clips": ["rain-3.flac", "dog_bark-1"], "options": {}, "loud": True}
    assert checked(small, given) == given
    assert checked(small, {"file": "small.ipynb"}) == {"file": str(small.resolve())}
    assert checked(small, {"file": ""}) == {"file": ""}
    assert {name: each.comment for name, each in parameters(small).items()}["count"] == "1 to 9: how many"


def test_a_run_keeps_what_it_got_to_and_says_which_cell_failed(small, tmp_path):
    out = run_notebook(small, {"count": 2}, tmp_path / "new" / "out.ipynb")
    assert nbformat.read(out, 4).cells[-1].outputs[0].data["text/plain"] == "0.5"
    wrong = nbformat.read(small, 4)
    wrong.cells.append(nbformat.v4.new_code_cell("1 / 0"))
    nbformat.write(wrong, small)
    with pytest.raises(NotebookFailed, match=r"out\.ipynb: cell 4: ZeroDivisionError: division by zero"):
        run_notebook(small, {"count": 2}, out)


def test_notebooks_are_found_by_number_name_and_path(small):
    assert (
        find("03")
        == find("03_guided_decoding")
        == find("03_guided_decoding.ipynb")
        == FOLDER / "03_guided_decoding.ipynb"
    )
    assert find(small) == small
    with pytest.raises(InvalidOption, match="did you mean '03_guided_decoding'"):
        find("3_guided_decode")


def test_the_command_takes_values_in_every_way(small, tmp_path, monkeypatch, capsys):
    def said(*command):
        monkeypatch.setattr(sys, "argv", ["zscap", "run", *map(str, command)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out + captured.err

    seen = []
    monkeypatch.setattr("zscap.notebooks.run_notebook", lambda name, given, out, progress: seen.append(given))
    (tmp_path / "given.yaml").write_text("count: 4\nway: slow\n")
    assert (
        said(small, "-p", "count", "5", "-p", "clips=[rain-1]", "-p", "way", "fast", "-f", tmp_path / "given.yaml")[0]
        == 0
    )
    assert seen == [{"count": 5, "way": "fast", "clips": ["rain-1"]}]
    assert said(small, "-p", "count")[0] == 1 and said(small, "count")[0] == 1
    assert said(small, "-f", tmp_path / "none.yaml")[0] == 1
    assert "count = 3  # 1 to 9: how many" in said(small, "--parameters")[1]
    assert "03_guided_decoding" in said()[1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_says_what_its_parameters_are_and_takes_its_defaults(path):
    known = parameters(path)
    assert known and all(each.comment for each in known.values())
    assert checked(path, {name: each.default for name, each in known.items()})


WRONG = {
    "00": ["preset=smal", "recording=nowhere.wav", "recording=data", "presett=small", "preset=1"],
    "01": ["data=paper", "seed=-1", "seed=a", "sed=1"],
    "02": ["data=owm", "steps=0", "steps=many", "epochs=1.5", "threads=0", "threads=[1]", "seed=-1", "modle=small"],
    "03": [
        "token=40",
        "token=-1",
        "token=a",
        "clips=rain-1",
        "clips=[rain-99]",
        "clips=[1]",
        "recording=x.wav",
        "tokn=1",
    ],
    "04": ["preset=small", "preset=embeded", "family=papers", "family=1x", "familly=small", "preset=[embedded]"],
    "05": ["choose=3", "choose=maybe", "fold=6", "fold=0", "recordings=esc", "clips_per_class=0", "clips=3"],
    "06": ["clips=rain-1.flac", "clips=[rain-99]", "steps=0", "scale=11", "scale=a", "threads=0", "seed=-1", "step=3"],
    "07": ["preset=smal", "preset=zeraucap", "judgements=/nowhere", "judgement=x", "preset=[small]"],
    "08": [
        "preset=smal",
        "sentences=paper",
        "clips=0",
        "clips=41",
        "shares=0.1",
        "shares=[2]",
        "wrong=[0.9]",
        "seeds=[a]",
    ],
    "09": ["figures=figures", "folder=x"],
    "10": ["first=/nowhere", "second=/nowhere", "ratter=anna", "third=x"],
}


@pytest.mark.parametrize(("number", "text"), [(number, text) for number, texts in WRONG.items() for text in texts])
def test_known_mistakes_are_refused(number, text):
    notebook = find(number)
    known = parameters(notebook)
    name, _, value = text.partition("=")
    with pytest.raises(InvalidOption):
        checked(notebook, {name: known[name].parse(value) if name in known else value})


def test_a_refusal_takes_no_time_and_runs_nothing(tmp_path):
    command = [sys.executable, "-m", "zscap", "run", "03", "-p", "token", "40", "--out", tmp_path / "out.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=tmp_path, check=False)
    assert done.returncode == 1 and done.stderr == "zscap: 03_guided_decoding: token=40: must be 0 to 7\n"
    assert not list(tmp_path.iterdir())
