"""Which of two captions do people prefer? A blind study of two runs, and what its answers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from zscap.errors import InvalidData, one_line
from zscap.evaluation.datasets import read_dataset
from zscap.evaluation.intervals import interval
from zscap.evaluation.runs import same_data
from zscap.files.output import write_whole

# After two of the three properties that arXiv 2309.03884 asks of a caption: faithfulness and audibility.
QUESTIONS = {
    "faithful": "Which caption fits the recording better?",
    "audible": "Which caption says only what can be heard?",
}
COLUMNS = ("rater", "clip", "question", "first", "second", "answer")
ANSWERS = ("first", "second", "neither")


@dataclass(frozen=True)
class Question:
    """One screen of the study: a recording, a question, and two captions of which nothing says whose they are."""

    clip: str
    recording: Path
    question: str
    first: str
    second: str
    swapped: bool  # whether the first run's caption is on the right

    @property
    def left(self) -> str:
        return self.second if self.swapped else self.first

    @property
    def right(self) -> str:
        return self.first if self.swapped else self.second

    def meant(self, choice: str) -> str:
        """The answer, `first`, `second` or `neither`, behind `left`, `right` or `neither`."""
        sides = {"left": "second", "right": "first"} if self.swapped else {"left": "first", "right": "second"}
        return (sides | {"neither": "neither"})[choice]


class Study:
    """What one rater is asked: both questions of each clip whose captions differ, in an order of the rater's own.

    Sides and order follow from the rater's name, so that a study goes on as it began.

    Args:
        first, second: folders of two runs on the same data.
        folder: for the answers, a csv file for each rater, written answer by answer.
        rater: a name.
        data: as of `read_dataset`, where published sets lie; None is `data_folder()`.

    Raises:
        InvalidData: no runs, runs of different data, no caption that differs, or a name that no file can have.
    """

    def __init__(self, first: str | Path, second: str | Path, folder: str | Path, rater: str, data: str | None = None):
        if not rater.strip() or Path(rater).name != rater:
            raise InvalidData(f"rater {rater!r}: must be a name, e.g. 'anna'")
        self.rater, self.file = rater, Path(folder) / f"{rater}.csv"
        summary, scores = same_data(first, second)
        texts = [each["text"].dropna() for each in scores]
        recordings = {clip.name: clip.source for clip in read_dataset(summary["data"], data).clips}
        both = [name for name in texts[0].index.intersection(texts[1].index) if texts[0][name] != texts[1][name]]
        if not both:
            raise InvalidData(f"{first}, {second}: no clip has two different captions; there is nothing to prefer")
        random = np.random.default_rng(list(rater.encode()))
        self.questions = []
        for name in map(str, random.permutation(both)):
            swapped = bool(random.integers(2))
            captions = [text[name] for text in texts]
            self.questions += [Question(name, recordings[name], each, *captions, swapped) for each in QUESTIONS]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        known = read_answers(folder, [rater]) if self.file.exists() else None
        self.answers = [] if known is None else known.to_dict("records")

    def remaining(self) -> list[Question]:
        """What was not answered yet; an answer about other captions of the clip does not count."""
        keys = ("clip", "question", "first", "second")
        done = {tuple(answer[key] for key in keys) for answer in self.answers}
        return [each for each in self.questions if tuple(getattr(each, key) for key in keys) not in done]

    def answer(self, question: Question, choice: str) -> None:
        """Keep an answer, `left`, `right` or `neither`, on disk.

        Raises:
            UnwritableOutput: the file cannot be written.
        """
        asked = {key: getattr(question, key) for key in ("clip", "question", "first", "second")}
        self.answers.append({"rater": self.rater} | asked | {"answer": question.meant(choice)})
        table = pd.DataFrame(self.answers, columns=list(COLUMNS))
        write_whole(self.file, table.to_csv(index=False), "folder")


def read_answers(folder: str | Path, raters: Sequence[str] | None = None) -> pd.DataFrame:
    """Answers of a study.

    Args:
        folder: with a csv file for each rater.
        raters: these only; None takes all.

    Returns:
        DataFrame, a row for each answer: `rater`, `clip`, `question`, the captions `first` and `second`, and `answer`:
        `first`, `second` or `neither`.

    Raises:
        InvalidData: there are none, or a file holds something else.
    """
    files = [Path(folder) / f"{rater}.csv" for rater in raters] if raters else sorted(Path(folder).glob("*.csv"))
    if not files:
        raise InvalidData(f"{folder}: no answers there; a study writes a csv file for each rater")
    tables = []
    for file in files:
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise InvalidData(f"{file}: can't be read ({one_line(str(error))})") from None
        if (
            tuple(table.columns) != COLUMNS
            or not (table["answer"].isin(ANSWERS) & table["question"].isin(QUESTIONS)).all()
        ):
            raise InvalidData(f"{file}: holds no answers of a study; its columns must be {', '.join(COLUMNS)}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def majority(answers: pd.DataFrame) -> pd.DataFrame:
    """What most raters say: a row for each clip and question; `answer` is `neither` where none has a majority."""
    votes = answers["answer"].map({"first": -1, "neither": 0, "second": 1})
    sums = votes.groupby([answers["question"], answers["clip"]], sort=False).sum()
    return np.sign(sums).map({-1: "first", 0: "neither", 1: "second"}).rename("answer").reset_index()


def preference(answers: pd.DataFrame) -> pd.DataFrame:
    """How often the second run's caption is preferred, of the clips on which a majority has a preference.

    Raters of one clip are no independent observations, so a clip counts once, whatever their number.

    Returns:
        DataFrame, a row for each question: `first`, `second` and `neither` (clips), `share` (of `second` among the two)
        and its 95 % interval (Wilson's) `low` and `high`: NaN where nobody has a preference.
    """
    rows = []
    for question, group in majority(answers).groupby("question", sort=False):
        counts = {name: int((group["answer"] == name).sum()) for name in ANSWERS}
        of = np.repeat([True, False], [counts["second"], counts["first"]])
        low, high = interval(of) if len(of) else (np.nan, np.nan)
        share = of.mean() if len(of) else np.nan
        rows.append({"question": question} | counts | {"share": share, "low": low, "high": high})
    return pd.DataFrame(rows).set_index("question")


def agreement_of_raters(answers: pd.DataFrame) -> pd.DataFrame:
    """How far each two raters agree on what both have answered.

    Returns:
        DataFrame, a row for each question and pair of raters: `one`, `other`, `n`, `equal` (share of equal answers) and
        `kappa` (Cohen's; 0 is chance, 1 is agreement), NaN where both always say the same one thing.
    """
    from sklearn.metrics import cohen_kappa_score

    rows = []
    for question, group in answers.groupby("question", sort=False):
        table = group.drop_duplicates(["clip", "rater"], keep="last").pivot(
            index="clip", columns="rater", values="answer"
        )
        for one, other in combinations(table.columns, 2):
            both = table[[one, other]].dropna()
            if len(both):
                constant = both.stack().nunique() == 1
                kappa = np.nan if constant else cohen_kappa_score(both[one], both[other])
                equal = (both[one] == both[other]).mean()
                rows.append(
                    {"question": question, "one": one, "other": other, "n": len(both), "equal": equal, "kappa": kappa}
                )
    return pd.DataFrame(rows, columns=["question", "one", "other", "n", "equal", "kappa"])


def agreement_with_measures(
    answers: pd.DataFrame, first: str | Path, second: str | Path, measures: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """How often a measure prefers the caption that most raters prefer; where it sees no difference it is wrong.

    Args:
        answers: of `read_answers`.
        first, second: folders of the runs.
        measures: for each question, columns of scores.csv.

    Returns:
        DataFrame, a row for each question and measure: `agreement` (0.5 is guessing), its 95 % interval (Wilson's)
        `low` and `high`, and `n`, the clips on which a majority has a preference; 0 and NaN where the runs lack it.
    """
    _, scores = same_data(first, second)
    rows = []
    for question, group in majority(answers).groupby("question", sort=False):
        preferred = group[group["answer"] != "neither"].set_index("clip")["answer"]
        for measure in measures.get(question, ()):
            row = {"question": question, "measure": measure, "n": 0}
            if all(measure in each for each in scores):
                gains = scores[1][measure].astype(float) - scores[0][measure].astype(float)
                gains = gains.reindex(preferred.index).dropna()
                right = (gains * preferred[gains.index].map({"first": -1, "second": 1}) > 0).to_numpy(dtype=bool)
                if len(right):
                    low, high = interval(right)
                    row |= {"agreement": right.mean(), "low": low, "high": high, "n": len(right)}
            rows.append(row)
    return pd.DataFrame(rows, columns=["question", "measure", "agreement", "low", "high", "n"])
