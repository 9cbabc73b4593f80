"""The recordings that captions are measured on, and an audio encoder that has not heard them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData, MissingWeights
from ..files import REPOSITORY
from .naming import NAMES

if TYPE_CHECKING:
    import pandas as pd

    from ..matchers.embedded import EmbeddedMatcher


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
    import torch

    file = Path(folder) / f"without_{fold}.pt"
    if not file.is_file():
        raise MissingWeights(
            f"{file} isn't there, and the encoder that ships learnt from fold {fold}: run notebook 92 with "
            f"papermill notebooks/92_audio_encoder.ipynb runs/92.ipynb -y 'test_folds: [{fold}]'"
        )
    matcher.encoder.load_state_dict(torch.load(file, weights_only=True)["smooth"])


def _first(paths: dict[str, Iterable[Path]], clips_per_class: int, empty: str) -> pd.DataFrame:
    import pandas as pd

    rows = [(path, sound) for sound, found in paths.items() for path in sorted(found)[:clips_per_class]]
    if not rows:
        raise InvalidData(f"{empty}: see data/README.md")
    return pd.DataFrame(rows, columns=["path", "sound"])
