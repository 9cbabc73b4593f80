"""The preference study: blind, resumable, and counted by clips."""

import json
from itertools import product
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from ipywidgets import Button
from ipywidgets.widgets.widget import _instances

from studies.preference import QUESTIONS, Study, agreement_of_raters, agreement_with_measures, preference, read_answers
from zscap.errors import InvalidData
from zscap.evaluation.datasets import read_dataset

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "10_preference_study.ipynb"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on three clips, whose captions all differ."""
    folders = [tmp_path_factory.mktemp(name) for name in ("alone", "guided")]
    clips = [clip.name for clip in read_dataset("soundscapes").first(3).clips]
    made = {"preset": "embedded", "data": "soundscapes", "shard": "1/1", "data_sha256": "0"}
    for folder, matching in zip(folders, ([0.1, 0.5, 0.3], [0.2, 0.4, 0.6]), strict=True):
        (folder / "summary.json").write_text(json.dumps(made | {"measures": {}, "timing": {}}))
        texts = [f"a {folder.name} sound of {clip}" for clip in clips]
        scores = pd.DataFrame({"clip": clips, "text": texts, "matching": matching})
        scores.to_csv(folder / "scores.csv", index=False)
    return folders


def test_every_differing_clip_is_asked_about_twice_and_nothing_tells_whose_caption_it_is(runs, tmp_path):
    first, second = (pd.read_csv(folder / "scores.csv").set_index("clip")["text"] for folder in runs)
    studies = [Study(*runs, tmp_path, rater).questions for rater in ("anna", "ben", "cleo", "dora")]
    for questions in studies:
        assert {(each.clip, each.question) for each in questions} == set(product(first.index, QUESTIONS))
        assert len(questions) == 6
        for each in questions:
            assert {each.left, each.right} == {first[each.clip], second[each.clip]} and each.recording.is_file()
            assert (each.left == second[each.clip]) == each.swapped
    assert {each.swapped for questions in studies for each in questions} == {True, False}
    assert len({tuple(each.clip for each in questions) for questions in studies}) > 1


def test_a_study_goes_on_where_it_was_left(runs, tmp_path):
    study = Study(*runs, tmp_path, "anna")
    order = study.questions
    for question in order[:2]:
        study.answer(question, "left")
    again = Study(*runs, tmp_path, "anna")
    assert again.questions == order and again.remaining() == order[2:]
    again.answer(order[2], "neither")
    answers = read_answers(tmp_path)
    assert list(answers["clip"]) == [question.clip for question in order[:3]]
    meant = ["second" if question.swapped else "first" for question in order[:2]]
    assert list(answers["answer"]) == [*meant, "neither"]
    assert not list(tmp_path.glob(".*"))
    # an answer about another caption of the clip does not count
    again.file.write_text(again.file.read_text().replace(order[2].left, "An older caption"))
    assert order[2] in Study(*runs, tmp_path, "anna").remaining()


def test_what_is_no_study_is_refused(runs, tmp_path):
    for folders, rater, says in (
        (runs, "../anna", "must be a name"),
        (runs[:1] * 2, "anna", "nothing to prefer"),
        ((runs[0], tmp_path), "anna", "holds no run"),
    ):
        with pytest.raises(InvalidData, match=says):
            Study(*folders, tmp_path, rater)
    with pytest.raises(InvalidData, match="no answers there"):
        read_answers(tmp_path)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidData, match=r"other\.csv: holds no answers"):
        read_answers(tmp_path)


def votes(**by_rater: str) -> pd.DataFrame:
    """Answers on clips 0, 1, 2 ...: a letter for each, f(irst), s(econd), n(either)."""
    meaning = {"f": "first", "s": "second", "n": "neither"}
    rows = [
        (rater, clip, "audible", meaning[letter])
        for rater, answers in by_rater.items()
        for clip, letter in enumerate(answers)
    ]
    return pd.DataFrame(rows, columns=["rater", "clip", "question", "answer"])


def test_a_clip_counts_once_whatever_the_number_of_raters():
    row = preference(votes(anna="sssf", ben="ssfn", cleo="sfnn")).loc["audible"]
    assert (row["first"], row["second"], row["neither"]) == (1, 2, 1)
    assert row["share"] == pytest.approx(2 / 3) and row["low"] < 0.3 and row["high"] > 0.9
    nobody = preference(votes(anna="nn")).loc["audible"]
    assert nobody["neither"] == 2 and pd.isna(nobody["share"])


def test_kappa_of_two_raters_by_hand():
    row = agreement_of_raters(votes(anna="ssff", ben="sfff")).iloc[0]
    assert (row["one"], row["other"], row["n"], row["equal"]) == ("anna", "ben", 4, 0.75)
    assert row["kappa"] == pytest.approx(0.5)  # chance: 0.5 * 0.25 + 0.5 * 0.75 = 0.5
    assert agreement_of_raters(votes(anna="s", ben="s"))["kappa"].isna().all()
    assert agreement_of_raters(votes(anna="sf")).empty


def test_a_measure_agrees_where_it_prefers_what_people_prefer(runs):
    clips = read_dataset("soundscapes").first(3).clips
    answers = pd.DataFrame({"clip": [clip.name for clip in clips], "question": "faithful", "answer": "second"})
    table = agreement_with_measures(answers, *runs, {"faithful": ["matching"]})
    assert len(table) == 1 and table.loc[0, "n"] == 3
    assert table.loc[0, "agreement"] == pytest.approx(2 / 3)  # of one clip the first run's is higher


def test_a_rater_clicks_through_the_notebooks_study(runs, tmp_path):
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    given = {"rater": "anna", "answers_folder": str(tmp_path), "first": str(runs[0]), "second": str(runs[1])}
    names = {}
    exec(cells[0], names)
    assert names.keys() - {"__builtins__"} >= given.keys()
    names |= given
    for source in cells[1 : next(i for i, source in enumerate(cells) if "ask()\n" in source) + 1]:
        exec(source.replace("%matplotlib inline", ""), names)
    study = names["study"]
    while waiting := study.remaining():
        buttons = {widget.description: widget for widget in _instances.values() if isinstance(widget, Button)}
        assert {waiting[0].left, waiting[0].right, "no difference"} <= buttons.keys()
        buttons[waiting[0].left].click()
        assert len(study.remaining()) == len(waiting) - 1
        for widget in buttons.values():
            widget.close()
    assert len(read_answers(tmp_path)) == 6
