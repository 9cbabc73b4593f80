"""Parameters of notebooks: refused before the first cell runs, in one line."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from studies.runner import FOLDER, checked, find, parameters, run_notebook
from zscap import cli
from zscap.errors import InvalidOption, NotebookFailed

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
        ({"limits": {"lnog": 3}}, "limits: unknown name 'lnog': did you mean 'long'"),
        ({"limits": {"ways": 3}}, r"limits\.ways=3: must be of type list"),
        ({"rate": 0}, "rate=0: must be above 0"),
        ({"fold": "5"}, "must be one of 3, 4, "),
        ({"loud": 1}, "must be of type bool"),
    ],
)
def test_wrong_parameters_are_refused(small, given, said):
    with pytest.raises(InvalidOption, match=f"^small: .*{said}"):
        checked(small, given)


def test_right_parameters_are_taken_and_paths_made_absolute(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    given = {
        "count": 9,
        "share": 1,
        "way": "slow",
        "clips": ["rain-3.flac", "dog_bark-1"],
        "options": {},
        "loud": True,
        "limits": {"long": 1},
        "rate": 2,
        "fold": "",
    }
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
    monkeypatch.setattr("studies.runner.run_notebook", lambda name, given, out, progress: seen.append(given))
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
    "00": [
        "preset=smal",
        "preset=1",
        "preset=",
        "preset=[small]",
        "presett=small",
        "recording=nowhere.wav",
        "recording=data",
        "recordings=a.wav",
        "Preset=small",
        "seed=0",
    ],
    "01": ["data=paper", "data=", "data=1", "data=[own]", "dta=own", "seed=-1", "seed=a", "seed=1.5", "seed=", "sed=1"],
    "02": [
        "data=owm",
        "data=",
        "steps=0",
        "steps=many",
        "steps=[5]",
        "epochs=1.5",
        "threads=0",
        "threads=[1]",
        "seed=-1",
        "modle=small",
    ],
    "03": [
        "token=40",
        "token=-1",
        "token=a",
        "token=1.5",
        "clips=rain-1",
        "clips=[rain-99]",
        "clips=[1]",
        "clips=",
        "recording=x.wav",
        "tokn=1",
    ],
    "04": [
        "preset=small",
        "preset=embeded",
        "preset=[embedded]",
        "preset=",
        "family=papers",
        "family=1x",
        "family=",
        "family=[small]",
        "familly=small",
        "clips=2",
    ],
    "05": [
        "choose=3",
        "choose=maybe",
        "choose=",
        "fold=5",
        "fold=0",
        "recordings=esc",
        "clips_per_class=0",
        "clips_per_class=a",
        "clips=3",
        "encoder=x",
    ],
    "06": [
        "clips=rain-1.flac",
        "clips=[rain-99]",
        "clips=[1]",
        "steps=0",
        "steps=a",
        "scale=11",
        "scale=a",
        "threads=0",
        "seed=-1",
        "step=3",
    ],
    "07": [
        "preset=smal",
        "preset=zeraucap",
        "preset=",
        "preset=[small]",
        "judgements=/nowhere",
        "judgements=README.md",
        "judgement=x",
        "datas=x",
        "folder=x",
        "results=x",
    ],
    "08": [
        "preset=smal",
        "sentences=paper",
        "clips=0",
        "clips=41",
        "shares=0.1",
        "shares=[2]",
        "wrong=[0.9]",
        "seeds=[a]",
        "changes=3",
        "folds=1",
    ],
    "09": [
        "figures=figures",
        "folder=x",
        "figure_folder=x",
        "out=x",
        "seed=0",
        "dpi=100",
        "figures_folders=x",
        "figures-folder=x",
        "Figures_folder=x",
        "format=svg",
    ],
    "10": [
        "first=/nowhere",
        "second=/nowhere",
        "first=README.md",
        "second=README.md",
        "ratter=anna",
        "third=x",
        "answers=x",
        "raters=a",
        "seed=1",
        "preset=small",
    ],
    "90": [
        "steps=0",
        "steps=a",
        "learning_rate=0",
        "learning_rate=fast",
        "dropout=1",
        "audio_share=2",
        "audio_share=-1",
        "threads=0",
        "layers=0",
        "step=3",
    ],
    "91": [
        "steps=0",
        "pairs=-1",
        "pairs=a",
        "learning_rate=-1",
        "language_model=nowhere",
        "language_model=README.md",
        "held_out=0",
        "threads=300",
        "seed=x",
        "teachers=x",
    ],
    "92": [
        "test_folds=4",
        "test_folds=[6]",
        "test_folds=[a]",
        "channels=32",
        "channels=[0]",
        "temperature=0",
        "average=2",
        "steps=0",
        "batch=1.5",
        "fold=4",
    ],
    "93": [
        "test_fold=0",
        "test_fold=[4]",
        "clips_per_class=0",
        "clips_per_class=41",
        "encoder_folder=nowhere",
        "encoder_folder=README.md",
        "second_language_model=nowhere",
        "threads=0",
        "data_folder=nowhere",
        "folds=4",
    ],
    "94": [
        "sizes=embedded",
        "sizes=[tiny]",
        "released={candidates: 5}",
        "slow={num_candidates: many}",
        "same=3",
        "growth={beams: [1]}",
        "growth={clips: 3}",
        "paper_scale=0",
        "memory_clips=[0]",
        "batches=4",
    ],
    "95": [
        "steps=0",
        "pictures=0",
        "pictures=a",
        "options={promt: a}",
        "options={kappa: a}",
        "trials=3",
        "average=-1",
        "language_model=nowhere",
        "report_scenes=0",
        "scenes=5",
    ],
    "96": [
        "test_fold=6",
        "length=0",
        "length=100",
        "noise=-1",
        "things_share=1",
        "common={scale: 1}",
        "steering={num_iterations: many}",
        "proximal={kapa: 1}",
        "encoder_folder=nowhere",
        "steerings={}",
    ],
    "97": [
        "limits={flikr: 5}",
        "limits={flickr: many}",
        "tempting={kind: 1}",
        "pairs=-1",
        "candidates=0",
        "language_model=nowhere",
        "heads=0",
        "steps=[1]",
        "learning_rate=0",
        "limit=5",
    ],
    "98": [
        "held_out=6",
        "held_out=[4]",
        "units=0",
        "mixed=2",
        "mixed=a",
        "frozen_blocks=-1",
        "temperature=0",
        "steps=0",
        "threads=0",
        "holdout=4",
    ],
    "99": [
        "held_out=",
        "held_out=6",
        "clips_per_class=0",
        "clips_per_class=a",
        "slow_clips=0",
        "timed_clips=1.5",
        "encoder_folder=nowhere",
        "threads=0",
        "data_folder=README.md",
        "fold=4",
    ],
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
