"""What is asked of captions beside their references: are they audible, fluent, varied, and do they name the sound?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ZscapError
from ..folders import ASSETS, data_folder
from ..guidance.words import MAY_RETURN, WORD, alike, stem
from .intervals import has_width, interval
from .judges import AudibilityJudge, Fluency, same_weights
from .metrics import LESS, METRICS, Gap, Texts, Unavailable, encode_sentences, tokenizer_name
from .naming import ALL, names_sound
from .sounds import parts, unlike

if TYPE_CHECKING:
    import pandas as pd

    from .datasets import Clip

# These read sentences as they are; the other metrics read tokens.
OF_SENTENCES = "fer", "fense", "sbert_sim", "sbert_sim_tinybert", "sounds_missed", "sounds_invented"
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
    "events_missed": f"1 minus the cosine of what is heard with the caption's nearest part, {LESS}",
    "events_invented": f"1 minus the cosine of the caption's parts with what is heard, {LESS}",
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
def _judge(folder: Path) -> AudibilityJudge | Gap:
    """A judge of another family than the guiding classifiers, trained on other sentences."""
    from .corpora import read_corpora

    try:
        return AudibilityJudge.train(read_corpora(folder))
    except ZscapError:
        return Gap(f"no captions of sounds and of photographs in {folder}/text to learn from, see data/README.md")
    except ModuleNotFoundError:
        return Gap("scikit-learn isn't installed: pip install 'zscap[evaluation]'")


def _second(preset: str) -> tuple[Fluency, str] | Gap:
    """A language model that did not write the captions, and its name."""
    from ..preset.load import about

    own, small = (about(name).parts["language_model"].weights for name in (preset, "small"))
    if problem := small.problem("small"):
        return Gap(problem)
    files = [own.root / name for name in own.names if Path(name).name == "config.json"] or [own.path / "config.json"]
    if not all(file.is_file() for file in files):
        return Gap(f"{own.root} isn't there to be told apart from a second language model")
    shipped = ASSETS / "language_model", "the language model of the preset embedded"
    for folder, name in ((small.path, small.root.name), shipped):
        if not any(same_weights(file.parent, folder) for file in files):
            return Fluency.load(folder), name
    return Gap("the captions' language model is among those that could judge it")


def measured(table: pd.DataFrame, clips: Sequence[Clip], preset: str) -> tuple[pd.DataFrame, dict[str, dict]]:
    """Every measure of captions, by clip and of all of them.

    Args:
        table: a row for each clip, with `text` (None where there is no caption), `events`, `matching`, `classifier`
            and `log_likelihood`.
        clips: in the table's order.
        preset: that wrote the captions.

    Returns:
        scores: the table with a column for each measure of single captions.
        summary: by measure, `value`, the ends of its 95 % interval `low` and `high` (None where it has none), `n` and
            `scale`; or `gap`, the reason why there is no value.
    """
    scores, summary = table.drop(columns="events"), {}
    written = table["text"].notna().to_numpy()
    if not written.any():
        scales = NEEDS_NO_REFERENCES | {name: metric.scale for name, metric in METRICS.items()}
        return scores, {name: {"gap": "no caption", "scale": scale} for name, scale in scales.items()}
    clips = [clip for clip, there in zip(clips, written, strict=True) if there]
    for name, (values, more) in _asked(table[written], clips, preset).items():
        if isinstance(values, Gap):
            summary[name] = {"gap": values.reason}
        elif isinstance(values, float):
            summary[name] = {"value": values, "low": None, "high": None, "n": len(clips)}
        else:
            scores[name] = values
            summary[name] = _of_clips(values.dropna())
        summary[name]["scale"] = NEEDS_NO_REFERENCES[name] + more
    return scores, summary | _against_references(scores, clips, table["text"][written])


def _asked(captions: pd.DataFrame, clips: Sequence[Clip], preset: str) -> dict[str, tuple]:
    """What needs no reference, by name: values by clip, one of all, or why there are none; and what the scale adds."""
    import pandas as pd

    def of_clips(values: Iterable, dtype: str | None = None) -> pd.Series:
        return pd.Series(list(values), captions.index, dtype=dtype)

    texts = captions["text"].tolist()
    pairs = zip(texts, clips, strict=True)
    hits = of_clips((names_sound(text, clip.sound) if clip.sound in ALL else None for text, clip in pairs), "boolean")
    found: dict[str, Gap | pd.Series | float] = {"hit": hits, **captions[["matching", "classifier", "log_likelihood"]]}
    for name, values in found.items():
        if values.isna().all():
            none = f"the preset {preset} has no such network"
            found[name] = Gap("the clips have no classes with a list of words" if name == "hit" else none)
    notes = {}
    found["judge"] = judge = _judge(data_folder())
    if not isinstance(judge, Gap):
        found["judge"] = of_clips(judge.probability(texts))
        notes["judge"] = f": word counts, learnt from {', '.join(judge.sources)}, accuracy {judge.accuracy:.3f}"
    for name, of in (("classified_audible", "classifier"), ("judged_audible", "judge")):
        found[name] = found[of] if isinstance(found[of], Gap) else (found[of] > 0.5).astype("boolean")
    found["fluency"] = second = _second(preset)
    if not isinstance(second, Gap):
        fluency, name = second
        found["fluency"] = captions["text"].map({text: fluency(text) for text in set(texts)})
        notes["fluency"] = f": {name}"
    found |= against_events(captions["text"], [[event["name"] for event in of] for of in captions["events"]])
    found["stutter"] = of_clips(map(stutters, texts), "boolean")
    found |= {f"distinct_{n}": distinct(texts, n) for n in (1, 2)}
    return {name: (found[name], notes.get(name, "")) for name in NEEDS_NO_REFERENCES}


def against_events(texts: pd.Series, heard: Iterable[Sequence[str]]) -> dict[str, Gap | pd.Series]:
    """How far captions, None where there is none, miss what is heard, names of events, and invent what isn't."""
    import pandas as pd

    names = "events_missed", "events_invented"
    said = [parts(text) if isinstance(text, str) else [] for text in texts]
    heard = [list(dict.fromkeys(of)) for of in heard]
    if not any(heard):
        return dict.fromkeys(names, Gap("the preset doesn't tell sounds apart, or hears none"))
    try:
        found = unlike(heard, said, encode_sentences), unlike(said, heard, encode_sentences)
    except Unavailable as error:
        return dict.fromkeys(names, Gap(str(error)))
    return {name: pd.Series(values, texts.index)[texts.notna()] for name, values in zip(names, found, strict=True)}


def _of_clips(values: pd.Series) -> dict:
    if values.empty:
        return {"gap": "no caption"}
    values = values.to_numpy(dtype=bool if values.dtype == "boolean" else float)
    ends = interval(values)
    low, high = ends if has_width(*ends) else (None, None)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}


def _against_references(scores: pd.DataFrame, clips: Sequence[Clip], texts: pd.Series) -> dict[str, dict]:
    """The metrics of captions, which are put into `scores`."""
    import pandas as pd

    with_references = [bool(clip.references) for clip in clips]
    # A caption stands in for the references that nothing reads.
    references = pd.Series([clip.references or (text,) for clip, text in zip(clips, texts, strict=True)], texts.index)
    every, some = Texts(texts, references), Texts(texts[with_references], references[with_references])
    summary = {}
    for name, metric in METRICS.items():
        of, rows = (some, texts.index[with_references]) if metric.needs_references else (every, texts.index)
        found = of.score(name) if len(rows) else Gap("this set has no reference captions")
        if isinstance(found, Gap):
            summary[name] = {"gap": found.reason}
        else:
            value, each = found
            if each is not None:
                scores.loc[rows, name] = each
            low, high = of.interval(name) or (None, None)
            summary[name] = {"value": value, "low": low, "high": high, "n": len(rows)}
        summary[name]["scale"] = metric.scale
        if name not in OF_SENTENCES:
            summary[name]["tokens"] = tokenizer_name()
    return summary
