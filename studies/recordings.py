"""Recordings that captions are shown and measured on, what is heard in them, and encoders that have not heard them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zscap.decoding import UNCLEAR
from zscap.errors import InvalidData, MissingWeights
from zscap.evaluation.naming import ALL, NAMES, names_sound
from zscap.folders import REPOSITORY
from zscap.preset.downloads import DATASETS
from zscap.store import read_store

from .phrases import kind_of

if TYPE_CHECKING:
    import pandas as pd

    from zscap.caption import Caption
    from zscap.evaluation.judges import AudibilityJudge, Fluency
    from zscap.matchers.embedded import EmbeddedMatcher
    from zscap.matchers.small import SmallMatcher


def esc10(folder: str | Path, fold: int, clips_per_class: int) -> pd.DataFrame:
    """The first recordings of each class of a fold of ESC-10. Clips of one field recording share a fold.

    Args:
        folder: the data folder, which holds esc10/CLASS/FOLD-*.ogg.

    Returns:
        DataFrame with the columns `path` and `sound` (the class).

    Raises:
        InvalidData: there are none.
    """
    paths = {sound: (Path(folder) / "esc10" / sound).glob(f"{fold}-*") for sound in NAMES}
    return _first(paths, clips_per_class, f"{folder} holds no esc10 clips of fold {fold}")


def everyday(folder: str | Path, held_out: str = "") -> pd.DataFrame:
    """Recordings of everyday sounds: ESC-10 and ESC-50's forty other classes, kitchen20, and a collection of things.

    Args:
        folder: the data folder, see data/README.md.
        held_out: a fold of ESC-10. With it, a test is set apart: this fold, and by source a fifth of the uploaders of
            kitchen20; a fifth of the other ESC-50 clips, of whose sources nothing is known here; and all recordings of
            25 kinds of things.

    Returns:
        DataFrame with `path`, `collection` (esc10, esc50, kitchen20 or things), `kind` (of
        `studies.phrases.KINDS`, None where it is none of them) and `test`.
    """
    import numpy as np
    import pandas as pd

    folder, rows = Path(folder), []
    for path in sorted(folder.glob("esc10/*/*.ogg")):
        rows.append((path, "esc10", path.parent.name, path.name[0] == held_out))
    for path in sorted(folder.glob("sounds/esc50/*/*.ogg")):
        rows.append((path, "esc50", path.parent.name, int(path.stem.split("-")[1]) >= 32))
    kitchen = sorted(folder.glob("sounds/kitchen20/*/*.ogg"))
    uploaders = list(dict.fromkeys(path.stem.split("-")[1] for path in kitchen))
    for path in kitchen:
        rows.append((path, "kitchen20", path.parent.name, path.stem.split("-")[1] in uploaders[::5]))
    listed = folder / "sounds" / "things.csv"
    things = pd.read_csv(listed) if listed.is_file() else pd.DataFrame(columns=["file", "name"])
    kinds = things["name"].map(kind_of)
    own = sorted(set(kinds.dropna()) - set(ALL))
    new = set(np.random.default_rng(0).permutation(own)[:25])
    for file, kind in zip(things["file"], kinds, strict=True):
        rows.append((folder / "sounds" / "things" / file, "things", kind, kind in new))
    table = pd.DataFrame(rows, columns=["path", "collection", "kind", "test"])
    return table.assign(test=table["test"] & bool(held_out))


def animals() -> list[Path]:
    """Ten recordings of an animal each (Joseph Sardin of bigsoundbank.com, CC0).

    Raises:
        InvalidData: they are not there.
    """
    files = DATASETS["recordings"]
    if files.damaged():
        raise InvalidData(f"{files.root}: lacks the ten recordings; run `zscap fetch recordings`")
    return sorted(files.root.glob("*.mp3"))


def heard(matcher: SmallMatcher, recording: Path, number: int = 6) -> pd.DataFrame:
    """Probabilities of a recording's most probable names: a column for each, a row for each window, by its middle."""
    import pandas as pd

    from zscap.matchers.small import PATCH_SAMPLES, RATE, of_best_windows

    probabilities, _, loudness, starts = matcher.hear(recording)
    best = of_best_windows(probabilities, loudness).topk(number).indices
    middles = (starts.numpy() + PATCH_SAMPLES / 2) / RATE
    return pd.DataFrame(probabilities[:, best], pd.Index(middles, name="second"), [matcher.ear.names[i] for i in best])


def origin(caption: Caption) -> str:
    """Where the words of a caption come from; `small` compares the language model's with the store's."""
    if caption.tokens:
        return "the language model's"
    if caption.text == UNCLEAR:
        return "nobody's"
    return "the store's" if caption.text in read_store("written") else "two of the store's"


def rendered(clips_per_class: int) -> pd.DataFrame:
    """The first clips of each class that the project renders itself: no encoder learnt from them.

    Returns:
        DataFrame with the columns `path` and `sound` (the class).
    """
    folder = REPOSITORY / "data" / "soundscapes"
    paths = {sound: folder.glob(f"{sound}-*.flac") for sound in NAMES}
    return _first(paths, clips_per_class, f"{folder} holds no clips")


def hold_out(matcher: EmbeddedMatcher, folder: str | Path, fold: int) -> None:
    """Give `matcher` the audio encoder that did not learn from `fold`: the shipped one learnt from all of them.

    Args:
        folder: where notebook 92 left its encoders.

    Raises:
        MissingWeights: it isn't there.
    """
    saved = _without(folder, fold, "92_audio_encoder", f"-y 'test_folds: [{fold}]'")
    matcher.encoder.load_state_dict(saved["smooth"])


def hold_out_small(matcher: SmallMatcher, folder: str | Path, fold: str) -> None:
    """Give `matcher` the further outputs of the preset `small` that did not learn from the test of `everyday`.

    Args:
        folder: where notebook 98 left them.

    Raises:
        MissingWeights: it isn't there.
    """
    saved = _without(folder, fold, "98_small_audio_encoder", f"-r held_out {fold}")
    matcher.ear.load_state_dict(saved["weights"], strict=False)


def _without(folder: str | Path, fold: int | str, notebook: str, parameters: str) -> dict:
    """What a notebook saved of an encoder that did not learn from a fold."""
    import torch

    file = Path(folder) / f"without_{fold}.pt"
    if not file.is_file():
        number = notebook[:2]
        raise MissingWeights(
            f"{file} isn't there, and the encoder that ships learnt from fold {fold}: run notebook {number} with "
            f"papermill notebooks/{notebook}.ipynb runs/{number}.ipynb {parameters}"
        )
    return torch.load(file, weights_only=True, map_location="cpu")


def _first(paths: dict[str, Iterable[Path]], clips_per_class: int, empty: str) -> pd.DataFrame:
    import pandas as pd

    rows = [(path, sound) for sound, found in paths.items() for path in sorted(found)[:clips_per_class]]
    if not rows:
        raise InvalidData(f"{empty}: see data/README.md")
    return pd.DataFrame(rows, columns=["path", "sound"])


def judged(
    captions: Sequence[Caption],
    sounds: Sequence[str],
    judge: AudibilityJudge | None = None,
    fluency: Fluency | None = None,
) -> pd.DataFrame:
    """What is asked of each caption, a row each.

    Args:
        captions: of recordings of one sound each.
        sounds: these sounds, classes of ESC-10.

    Returns:
        DataFrame with `clip` (file name), `sound`, `caption`, the captioner's own `matching`, `classifier` and
        `log_likelihood`, `hit` (does it name its sound), `judge` and `fluency`: NaN without a network that says it.
    """
    import pandas as pd

    texts = [caption.text for caption in captions]
    table = pd.DataFrame({"clip": [Path(caption.source).name for caption in captions], "sound": list(sounds)})
    table["caption"] = texts
    for measure in ("matching", "classifier", "log_likelihood"):
        table[measure] = pd.Series([getattr(caption, measure) for caption in captions], dtype=float)
    table["hit"] = [names_sound(text, sound) for text, sound in zip(texts, sounds, strict=True)]
    table["judge"] = judge.probability(texts) if judge else float("nan")
    table["fluency"] = [fluency(text) if fluency else float("nan") for text in texts]
    return table
