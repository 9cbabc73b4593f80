"""What is asked of captions beside their references: are they audible, fluent, varied, and do they name the sound?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ZscapError
from ..folders import ASSETS, data_folder
from ..guidance.words import MAY_RETURN, WORD, alike, stem
from .intervals import has_width, interval
from .judges import AudibilityJudge, Fluency
from .metrics import METRICS, Gap, Texts
from .naming import ALL, names_sound
from .tokens import tokenizer_name

if TYPE_CHECKING:
    import pandas as pd

    from .datasets import Clip

NEEDS_NO_REFERENCES = {
    "hit": "share of captions that name the clip's class, by the words of zscap/evaluation/naming.py",
    "matching": "cosine of recording and caption by the matcher that guides",
    "classifier": "probability of audibility, by the classifier that guides: circular where it does",
    "classified_audible": "share of captions of which that is above 0.5",
    "judge": "probability of audibility, by an independent judge",
    "judged_audible": "share of captions of which that is above 0.5",
    "log_likelihood": "mean log-probability a token under the language model that wrote the caption, unguided",
    "fluency": "mean log-probability a token under a second language model",
    "stutter": "share of captions with a word twice, whatever its ending",
    "distinct_1": "different words as a share of all words",
    "distinct_2": "different pairs of words as a share of all pairs",
}


def stutters(text: str) -> bool:
    """Whether a word comes twice, whatever its ending; articles, prepositions and the like may.

    >>> stutters("The snoring man snores."), stutters("The dog and the cat.")
    (True, False)
    """
    stems = [stem(word) for word in WORD.findall(text.lower()) if word not in MAY_RETURN]
    return any(alike(one, other) for place, one in enumerate(stems) for other in stems[place + 1 :])


def distinct(texts: Sequence[str], n: int) -> float:
    """Different runs of n words as a share of all of them (Li et al., arXiv 1510.03055); NaN if there are none.

    >>> distinct(["a dog barks", "a dog howls"], 1)
    0.6666666666666666
    """
    words = [text.lower().strip(".!?").split() for text in texts]
    runs = [tuple(each[start : start + n]) for each in words for start in range(len(each) - n + 1)]
    return len(set(runs)) / len(runs) if runs else float("nan")


@cache
def _judge() -> AudibilityJudge | Gap:
    """A judge of another family than the guiding classifiers, trained on other sentences."""
    from .corpora import read_corpora

    try:
        sentences = read_corpora(data_folder())
        return AudibilityJudge.train(sentences)
    except ZscapError:
        return Gap(
            f"no captions of sounds and of photographs in {data_folder()}/text to learn from, see data/README.md"
        )


@cache
def _second(preset: str) -> tuple[Fluency, str] | Gap:
    """A language model that did not write the captions, and its name."""
    from ..preset.load import about

    if about(preset).parts["language_model"].weights.root.name == "SmolLM2-135M-Instruct":
        return Fluency.load(ASSETS / "language_model"), "the language model of the preset embedded"
    weights = about("small").parts["language_model"].weights
    problem = weights.problem("small")
    return Gap(problem) if problem else (Fluency.load(weights.path), "SmolLM2-135M-Instruct")


def measured(table: pd.DataFrame, clips: Sequence[Clip], preset: str) -> tuple[pd.DataFrame, dict[str, dict]]:
    """Every measure of captions, by clip and of all of them.

    Args:
        table: a row for each clip, with `text` (None where there is no caption), `matching`, `classifier` and
            `log_likelihood`.
        clips: in the table's order.
        preset: that wrote the captions.

    Returns:
        scores: the table with a column for each measure of single captions.
        summary: by measure, `value`, the ends of its 95 % interval `low` and `high` (None where it has none), `n` and
            `scale`; or `gap`, the reason why there is no value.
    """
    scores = table.copy()
    written = scores["text"].notna().to_numpy()
    texts = scores["text"][written].tolist()
    gaps: dict[str, Gap] = {}
    scales = dict(NEEDS_NO_REFERENCES)

    def put(name: str, values: Sequence, rows: np.ndarray = written) -> None:
        scores[name] = np.nan
        if len(values) and isinstance(values[0], bool | np.bool_):
            scores[name] = scores[name].astype("boolean")
        scores.loc[rows, name] = values

    named = np.array([clip.sound in ALL for clip in clips])
    if named.any():
        rows = written & named
        sounds = [clip.sound for clip, of in zip(clips, rows, strict=True) if of]
        put("hit", [names_sound(text, sound) for text, sound in zip(scores["text"][rows], sounds, strict=True)], rows)
    else:
        gaps["hit"] = Gap("the clips have no classes with a list of words")
    for name in ("matching", "classifier", "log_likelihood"):
        if scores[name].isna().all():
            gaps[name] = Gap(f"the preset {preset} has no such network")
    if "classifier" in gaps:
        gaps["classified_audible"] = gaps["classifier"]
    else:
        put("classified_audible", [bool(value > 0.5) for value in scores["classifier"][written]])
    judge, second = _judge(), _second(preset)
    if isinstance(judge, Gap):
        gaps["judge"] = gaps["judged_audible"] = judge
    elif texts:
        probabilities = judge.probability(texts)
        put("judge", probabilities)
        put("judged_audible", [bool(value > 0.5) for value in probabilities])
        scales["judge"] += f": word counts, learnt from {', '.join(judge.sources)}, accuracy {judge.accuracy:.3f}"
    if isinstance(second, Gap):
        gaps["fluency"] = second
    else:
        fluency, name = second
        remembered = {text: fluency(text) for text in dict.fromkeys(texts)}
        put("fluency", [remembered[text] for text in texts])
        scales["fluency"] += f": {name}"
    put("stutter", [stutters(text) for text in texts])
    summary = {}
    for name in NEEDS_NO_REFERENCES:
        if not texts:
            summary[name] = {"gap": "no caption"}
        elif name.startswith("distinct"):
            summary[name] = {"value": distinct(texts, int(name[-1])), "low": None, "high": None, "n": len(texts)}
        elif name not in gaps:
            summary[name] = _of_clips(scores[name].dropna())
        else:
            summary[name] = {"gap": gaps[name].reason}
        summary[name]["scale"] = scales[name]
    return scores, summary | _against_references(scores, clips, written, put)


def _of_clips(values: pd.Series) -> dict:
    if values.empty:
        return {"gap": "no caption"}
    values = values.to_numpy(dtype=bool if values.dtype == "boolean" else float)
    ends = interval(values)
    low, high = ends if has_width(*ends) else (None, None)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}


def _against_references(scores: pd.DataFrame, clips: Sequence[Clip], written: np.ndarray, put) -> dict[str, dict]:
    has_references = written & np.array([bool(clip.references) for clip in clips])
    if not written.any():
        return {name: {"gap": "no caption", "scale": metric.scale} for name, metric in METRICS.items()}
    texts = {}
    for is_needed, rows in ((True, has_references), (False, written)):
        # A caption stands in for the references that nothing reads.
        references = [clip.references or (text,) for clip, text in zip(clips, scores["text"], strict=True)]
        references = tuple(each for each, of in zip(references, rows, strict=True) if of)
        texts[is_needed] = Texts(tuple(scores["text"][rows]), references), rows
    summary = {}
    for name, metric in METRICS.items():
        of, rows = texts[metric.needs_references]
        found = of.score(name) if rows.any() else Gap("this set has no reference captions")
        if isinstance(found, Gap):
            summary[name] = {"gap": found.reason}
        else:
            value, each = found
            if each is not None:
                put(name, each, rows)
            low, high = of.interval(name) or (None, None)
            summary[name] = {"value": value, "low": low, "high": high, "n": int(rows.sum())}
        summary[name]["scale"] = metric.scale
        if name not in ("fer", "fense", "sbert_sim", "sbert_sim_tinybert"):  # which read sentences as they are
            summary[name]["tokens"] = tokenizer_name()
    return summary
