"""A run as one page to look at and listen to, which needs nothing but a browser."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnreadableSource
from ..files.output import write_whole
from ..options import GuidanceOptions, MagicOptions
from ..sources import read_audio
from .datasets import PUBLISHED, Clip

if TYPE_CHECKING:
    import pandas as pd

    from ..decoding import Captioner

TEMPLATE = Path(__file__).with_suffix(".html")
RATE = 16_000  # Hz, of what is played
LONGEST = 30  # seconds of a clip that are drawn and played
PICTURE = 240, 80  # pixels


def unguided(captioner: Captioner, clips: Sequence[Clip]) -> list[str | None]:
    """What the language model alone writes about each clip; None of a clip that cannot be read."""
    from ..language_model import LanguageModel

    options = captioner.options
    changes = {"classifier_scale": 0.0, "num_keywords": 0, "num_drafts": 1}
    changes |= {"matching_scale": 0.0} if isinstance(options, GuidanceOptions) else {}
    changes |= {"beta": 0.0} if isinstance(options, MagicOptions) else {}
    if type(captioner.language_model).begin is not LanguageModel.begin:  # it reads the source
        captions = captioner.stream((str(clip.source) for clip in clips), **changes)
        return [caption.text if caption.error is None else None for caption in captions]
    for clip in clips:
        (caption,) = captioner([str(clip.source)], **changes)
        if caption.error is None:
            return [caption.text] * len(clips)
    return [None] * len(clips)


def write_report(
    file: str | Path,
    title: str,
    clips: Sequence[Clip],
    scores: pd.DataFrame,
    *,
    summary: dict | None = None,
    without: Sequence[str | None] = (),
) -> None:
    """Write a page with all captions: sounds to play, spectrograms, references, scores; to be sorted and searched.

    Args:
        file: the page; it holds everything that it shows.
        title: of the page.
        clips: what was captioned.
        scores: a row for each clip with `text`, `error` and any measures.
        summary: of the run, whose measures are shown with published ones beside them.
        without: captions without guidance, one for each clip.

    Raises:
        UnwritableOutput: the file cannot be written.
    """
    hidden = ("clip", "sound", "text", "error")
    columns = [name for name in scores.columns if name not in hidden and scores[name].notna().any()]
    published, warning = _published(summary)
    page = {
        "title": title,
        "facts": _facts(summary),
        "measures": [{"name": name} | measure for name, measure in (summary or {}).get("measures", {}).items()],
        "published": published,
        "warning": warning,
        "columns": columns,
        "clips": [
            {
                "name": clip.name,
                "sound": clip.sound or "",
                "text": _text(row["text"]),
                "error": _text(row["error"]),
                "unguided": without[number] if without else None,
                "references": list(clip.references),
                "scores": {name: float(row[name]) for name in columns if not _is_missing(row[name])},
                **_heard(clip),
            }
            for number, (clip, (_, row)) in enumerate(zip(clips, scores.iterrows(), strict=True))
        ],
    }
    # "</script>" in a caption would end the data.
    text = json.dumps(page, ensure_ascii=True, allow_nan=False).replace("</", "<\\/")
    write_whole(Path(file), TEMPLATE.read_text(encoding="utf-8").replace("@@data@@", text), "--report")


def _is_missing(value: object) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _text(value: object) -> str | None:
    return None if _is_missing(value) else str(value)


def _facts(summary: dict | None) -> list[str]:
    if summary is None:
        return []
    left = f"{len(summary['failed'])} could not be read, {len(summary['missing'])} are missing"
    versions = ", ".join(f"{name} {number}" for name, number in summary["versions"].items() if number)
    return [f"{summary['captioned']} captions of {summary['data']}; {left}.", f"{versions}; {summary['device']}."]


def _published(summary: dict | None) -> tuple[dict, str]:
    """Rows of the papers about the same data set, else of all, and what keeps them from being compared."""
    import pandas as pd

    empty = {"columns": [], "rows": []}
    if summary is None or not PUBLISHED.is_file():
        return empty, ""
    table = pd.read_csv(PUBLISHED)
    of_set = table["dataset"].str.lower().str.startswith(summary["data"].lower())
    n = f"These captions are of {summary['captioned']} clips of {summary['data']}"
    if of_set.any():
        table = table[of_set]
        warning = f"{n}; n and protocol of each published row are in its second column and may differ."
    else:
        warning = f"{n}: another data set than any published row's, so no number here can be compared with them."
    wide = table.pivot_table(index=["system", "dataset", "source"], columns="metric", values="value_x100", sort=False)
    names = [str(name) for name in wide.columns]
    rows = [
        [system, data, *(None if math.isnan(value) else value / 100 for value in values), source]
        for (system, data, source), values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return {"columns": names, "rows": rows}, warning


def _heard(clip: Clip) -> dict[str, str | None]:
    """A clip's sound and spectrogram as data URIs; None of what cannot be read as a sound."""
    try:
        samples = read_audio(str(clip.source), RATE)[: LONGEST * RATE]
    except UnreadableSource:
        return {"audio": None, "picture": None}
    return {"audio": _uri("audio/mpeg", _mp3(samples)), "picture": _uri("image/png", _spectrogram(samples))}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _mp3(samples: np.ndarray) -> bytes:
    import av

    frame = av.AudioFrame.from_ndarray(np.clip(samples, -1, 1)[None], "fltp", "mono")
    frame.sample_rate = RATE
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=RATE, layout="mono")
        container.mux([*stream.encode(frame), *stream.encode()])
    return file.getvalue()


def _spectrogram(samples: np.ndarray) -> bytes:
    """Level over time and frequency, 80 dB from black to bright, up to 8 kHz."""
    from matplotlib import colormaps
    from PIL import Image
    from scipy.signal import spectrogram

    _, _, power = spectrogram(samples, RATE, nperseg=min(512, len(samples)), noverlap=min(256, len(samples) // 2))
    level = 10 * np.log10(power[::-1] + 1e-12)
    colours = colormaps["magma"](np.clip((level - level.max()) / 80 + 1, 0, 1), bytes=True)
    file = io.BytesIO()
    Image.fromarray(colours[..., :3]).resize(PICTURE).save(file, "PNG", optimize=True)
    return file.getvalue()
