"""How well `small` tells what sounds when, and how well it knows how sure it may be.

`python -m studies.events` writes three tables into data/results, in ten minutes on one thread. small_events.csv: F1 of
one-second segments over DESED's ten classes (Turpault et al., 2019) on recordings of data/captioned/events, of the
events, and of plain thresholds on YAMNet's outputs. small_confidence.csv: of recordings that the further outputs of
notebook 98 have not learnt from, how often captions are right, and how sure they are. small_mixtures.csv: of such
recordings alone, laid over each other and one after the other, how often all are named, and something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

import zscap
from studies.hearing import five_seconds, level
from studies.phrases import KINDS
from studies.provenance import record
from studies.recordings import everyday, hold_out_small
from zscap.evaluation.naming import ALL, names_sound
from zscap.folders import data_folder
from zscap.matchers.small import PATCH_SAMPLES, RATE, SmallMatcher

ROOT = Path(__file__).parent.parent
HELD_OUT = ROOT / "runs" / "small_audio_encoder"  # of notebook 98
WATER = ("Water", "Water tap, faucet", "Sink (filling or washing)", "Liquid", "Water flowing")
ALARMS = ("Alarm", "Bell", "Alarm clock", "Ringtone", "Telephone bell ringing", "Smoke detector, smoke alarm")
CLASSES = {  # of DESED, and names of events that mean it
    "Speech": ("Speech", "Child speech, kid speaking", "Whispering"),
    "Dog": ("Dog", "Bark", "Dog bark"),
    "Cat": ("Cat", "Meow", "Purr"),
    "Dishes": ("Dishes, pots, and pans", "Cutlery, silverware", "Plates", "Cutlery", "Clean dishes"),
    "Frying": ("Frying (food)", "Sizzle", "Frying pan"),
    "Running_water": WATER,
    "Blender": ("Blender",),
    "Vacuum_cleaner": ("Vacuum cleaner",),
    "Alarm_bell_ringing": (*ALARMS, "Clock alarm"),
    "Electric_shaver_toothbrush": ("Electric shaver, electric razor", "Electric toothbrush"),
}
CLASS = {name: kind for kind, names in CLASSES.items() for name in names}
WAYS = {  # of mixing: how many sounds, and by how many dB each is weaker than the one before; None: it follows
    "one": (1, 0),
    "0 dB": (2, 0),
    "6 dB": (2, 6),
    "two": (2, None),
    "three": (3, None),
}
Segments = set[tuple[int, str]]  # which second, which class


def labelled() -> dict[str, Segments]:
    """The recordings, and what people say of each second."""
    table = pd.read_csv(data_folder() / "captioned" / "events.csv")
    table = table[table["file"].str.contains("/desed") & table["label"].isin(CLASSES)]
    found: dict[str, Segments] = {}
    for row in table.itertuples():
        found.setdefault(row.file, set()).update(_segments(row.label, float(row.onset), float(row.offset)))
    return found


def _segments(kind: str, start: float, end: float) -> Segments:
    return {(second, kind) for second in range(int(start), int(end) + 1) if second < end}


def by_events(captioner: zscap.Captioner, path: str) -> Segments:
    """What `listen` hears; an edge of a tenth of a second counts for no second."""
    known = [event for event in captioner.listen(path) if event.name in CLASS]
    parts = (_segments(CLASS[event.name], event.start + 0.1, event.end - 0.1) for event in known)
    return set().union(*parts)


def by_threshold(matcher: SmallMatcher, path: str, threshold: float) -> Segments:
    """Where one of YAMNet's outputs is above a threshold, by the middles of windows."""
    own = matcher.ear.names[: matcher.ear.outputs.out_features]
    probabilities, _, _, starts = matcher.hear(path)
    found = set()
    for window, output in (probabilities[:, : len(own)] > threshold).nonzero().tolist():
        if own[output] in CLASS:
            found.add((int((starts[window].item() + PATCH_SAMPLES / 2) / RATE), CLASS[own[output]]))
    return found


def events(captioner: zscap.Captioner) -> pd.DataFrame:
    """F1 of one-second segments, a row a way."""
    ways: dict[str, Callable[[str], Segments]] = {"events": lambda path: by_events(captioner, path)}
    for threshold in (0.1, 0.2, 0.3, 0.5):
        ways[f"threshold {threshold}"] = lambda path, at=threshold: by_threshold(captioner.matcher, path, at)
    truth, rows = labelled(), []
    for way, hear in ways.items():
        right = false = missed = 0
        for file, wanted in tqdm(truth.items(), desc=way):
            found = hear(str(data_folder() / "captioned" / file))
            right, false, missed = (
                right + len(found & wanted),
                false + len(found - wanted),
                missed + len(wanted - found),
            )
        counts = {"right": right, "false": false, "missed": missed, "recordings": len(truth)}
        rows.append({"way": way, "f1": 2 * right / (2 * right + false + missed)} | counts)
    return pd.DataFrame(rows)


def confidence(captioner: zscap.Captioner, clips_per_class: int = 2) -> pd.DataFrame:
    """Of captions of single sounds, a row for taught kinds and one for others: share right, confidence, AUC, error.

    A caption of a kind that nobody taught is right if it has a word of the kind's name.
    """
    hold_out_small(captioner.matcher, HELD_OUT, "4")
    clips = everyday(data_folder(), "4")
    clips = clips[clips["test"]].assign(taught=clips["collection"] != "things")
    clips = pd.concat([clips[~clips["taught"]], clips[clips["taught"]].groupby("kind").head(clips_per_class)])
    rows = []
    for taught, part in clips.groupby("taught", sort=False):
        made = captioner([str(path) for path in part["path"]], unclear_below=0.0)
        sure = np.array([caption.confidence for caption in made])
        right = np.array(
            [
                names_sound(caption.text, kind) if taught else any(word in caption.text for word in kind.split("_"))
                for caption, kind in zip(made, part["kind"], strict=True)
            ]
        )
        tenths = pd.DataFrame({"tenth": (sure * 10).astype(int), "sure": sure, "right": right}).groupby("tenth")
        error = ((tenths["sure"].mean() - tenths["right"].mean()).abs() * tenths.size()).sum() / len(part)
        row = {"kinds": "taught" if taught else "untaught", "clips": len(part), "right": right.mean()}
        rows.append(row | {"confidence": sure.mean(), "auc": roc_auc_score(right, sure), "calibration_error": error})
    return pd.DataFrame(rows)


def mixtures(captioner: zscap.Captioner, number: int = 60) -> pd.DataFrame:
    """Of recordings of ESC-50's and kitchen20's kinds: how often captions name all sounds, and what is none of them."""
    hold_out_small(captioner.matcher, HELD_OUT, "4")
    made = mixed(number)
    return told((way, kinds, captioner([sound])[0].text) for way, kinds, sound in tqdm(made, total=number * len(WAYS)))


def mixed(
    number: int, ways: Iterable[str] = WAYS, seed: int = 0
) -> Iterator[tuple[str, list[str], tuple[np.ndarray, int]]]:
    """So many mixtures of each way: the way, the kinds, and the sound; of recordings that were held out."""
    clips = everyday(data_folder(), "4")
    clips = clips[clips["test"] & clips["kind"].isin(ALL)]
    paths = clips.groupby("kind")["path"].agg(list).to_dict()
    random = np.random.default_rng(seed)
    for way in ways:
        sounds, weaker = WAYS[way]
        for _ in range(number):
            kinds = random.choice(list(paths), sounds, replace=False).tolist()
            samples = [five_seconds(str(random.choice(paths[kind]))) for kind in kinds]
            parts = [0.1 * part / level(part) for part in samples]
            yield way, kinds, (np.concatenate(parts) if weaker is None else _over(parts, weaker), RATE)


def told(captions: Iterable[tuple[str, list[str], str]]) -> pd.DataFrame:
    """Of captions of mixtures, way, kinds and text: a row for each way.

    What a phrase for one of the sounds names is not invented: "water rushes in a flushing toilet".
    """
    rows = []
    for way, kinds, text in captions:
        named = [names_sound(text, kind) for kind in kinds]
        phrases = [phrase for kind in kinds for phrase in KINDS[kind]]
        others = [kind for kind in ALL if not any(names_sound(phrase, kind) for phrase in phrases)]
        invented = any(names_sound(text, other) for other in others if other not in kinds)
        rows.append({"way": way, "all_named": all(named), "one_named": any(named), "invented": invented})
    ways = pd.DataFrame(rows).groupby("way", sort=False)
    table = ways.mean()
    table.insert(0, "n", ways.size())
    return table.reset_index()


def _over(parts: list[np.ndarray], weaker: float) -> np.ndarray:
    """Recordings laid over each other, each `weaker` dB below the one before."""
    mixed = np.zeros(max(map(len, parts)), np.float32)
    for place, part in enumerate(parts):
        mixed[: len(part)] += part * 10 ** (-weaker * place / 20)
    return mixed


def main() -> None:
    torch.set_num_threads(1)
    captioner = zscap.load("small")
    for name, measure in (("small_events", events), ("small_confidence", confidence), ("small_mixtures", mixtures)):
        table, file = measure(captioner).round(3), ROOT / "data" / "results" / f"{name}.csv"
        table.to_csv(file, index=False, lineterminator="\n")
        record(file, "python -m studies.events", {}, [HELD_OUT / "without_4.pt"])
        print(table.to_string(index=False))


if __name__ == "__main__":
    main()
