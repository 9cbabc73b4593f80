"""A run as one page to look at and listen to, which needs nothing but a browser."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnreadableSource
from ..files.output import write_whole
from ..files.timed import FRAGMENT, times
from ..options import GuidanceOptions, MagicOptions
from ..roles import Event
from ..sources import stream_audio
from .datasets import PUBLISHED, Clip
from .metrics import Gap
from .reference_free import against_events

if TYPE_CHECKING:
    import pandas as pd

    from ..decoding import Captioner

TEMPLATE = Path(__file__).with_suffix(".html")
RATE = 16_000  # Hz, of what is played
LONGEST = 3600  # seconds of a clip that are drawn and played
PIXELS, WIDTHS, HEIGHT = 48, (240, 2400), 80  # of a spectrogram: in a second, the fewest and most in all; and its rows
FRAME = 256  # samples
COLOURS = (0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)  # from black to bright


def unguided(captioner: Captioner, clips: Sequence[Clip]) -> list[str | None]:
    """What the language model alone writes about each clip; None of a clip that cannot be read."""
    from ..language_model import LanguageModel

    options = captioner.options
    changes = {"classifier_scale": 0.0, "num_keywords": 0, "num_drafts": 1}
    changes |= {"matching_scale": 0.0} if isinstance(options, GuidanceOptions) else {}
    changes |= {"beta": 0.0} if isinstance(options, MagicOptions) else {}
    changes |= {"store": "", "prompt": options.store_prompt + options.prompt} if options.store else {}
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
    timelines: Sequence[Mapping] = (),
) -> None:
    """Write a page with all captions: sounds to play, spectrograms, references, scores; to be sorted and searched.

    A clip with a timeline shows its events and stretches below the spectrogram; each can be played by itself.

    Args:
        file: the page; it holds everything that it shows.
        title: of the page.
        clips: what was captioned.
        scores: a row for each clip with `text`, `error` and any measures.
        summary: of the run, whose measures are shown with published ones beside them.
        without: captions without guidance, one for each clip.
        timelines: for each clip `events`, each an `Event`, and `stretches`, each with start, end and caption; where
            there are some, its row in `scores` needs no `text`.

    Raises:
        UnwritableOutput: the file cannot be written.
    """
    columns = [name for name in scores if name not in ("clip", "sound", "text", "error") and scores[name].notna().any()]
    cards = []
    without, timelines = without or [None] * len(clips), timelines or [{}] * len(clips)
    for clip, row, text, timeline in zip(clips, scores.to_dict("records"), without, timelines, strict=True):
        row = {name: value for name, value in row.items() if value == value and value is not None}
        card = {"name": clip.name, "sound": clip.sound or "", "text": row.get("text"), "error": row.get("error")}
        card |= {"unguided": text, "references": clip.references, **_heard(clip), **timeline}
        cards.append(card | {"scores": {name: float(row[name]) for name in columns if name in row}})
    page = {"title": title, "columns": columns, "clips": cards}
    page |= {"facts": [], "measures": [], "warning": "", "published": {"columns": [], "rows": []}}
    if summary is not None:
        page["facts"] = _facts(summary)
        page["measures"] = [{"name": name} | measure for name, measure in summary["measures"].items()]
        if PUBLISHED.is_file():
            page["published"], page["warning"] = _published(summary)
    # "</script>" in a caption would end the data.
    text = json.dumps(page, ensure_ascii=True, allow_nan=False).replace("</", "<\\/")
    write_whole(Path(file), TEMPLATE.read_text(encoding="utf-8").replace("@@data@@", text), "--report")


def report_captions(file: str | Path, captioner: Captioner, rows: Sequence[Mapping]) -> None:
    """Write a page of captions without references.

    Args:
        file: the page.
        captioner: which made them, and now writes what it would without guidance.
        rows: for each recording, or each stretch of one, `source`, and `text` or `error`, and any of `Caption`'s
            numbers and events, also as texts.

    Raises:
        UnwritableOutput: the file cannot be written.
    """
    import pandas as pd

    recordings = {name: list(parts) for name, parts in groupby(rows, lambda row: FRAGMENT.sub("", row["source"]))}
    clips = [Clip(name, Path(name)) for name in recordings]
    numbers = ["matching", "classifier", "log_likelihood"]
    whole = [{row["source"]: row for row in parts}.get(name, {}) for name, parts in recordings.items()]
    table = pd.DataFrame(whole, columns=["text", "error", *numbers]).replace("", None)
    table[numbers] = table[numbers].astype(float)
    measured = against_events(table["text"], [[event.name for event in events_of(row)] for row in whole])
    table = table.assign(**{name: values for name, values in measured.items() if not isinstance(values, Gap)})
    timelines = []
    for name, parts in recordings.items():
        cut = [(*times(row["source"]), row.get("error") or row["text"]) for row in parts if row["source"] != name]
        timelines.append({"events": [event for row in parts for event in events_of(row)], "stretches": cut})
    without = () if any(timeline["stretches"] for timeline in timelines) else unguided(captioner, clips)
    write_report(file, "Captions by zscap", clips, table, without=without, timelines=timelines)


def events_of(row: Mapping) -> list[Event]:
    """Of a caption's row: of a `Caption` itself, of JSON lines, or of a table, where they are a text."""
    events = row.get("events") or ()
    events = json.loads(events) if isinstance(events, str) else events
    return [Event(**event) if isinstance(event, dict) else event for event in events]


def _facts(summary: dict) -> list[str]:
    left = f"{len(summary['failed'])} could not be read, {len(summary['missing'])} are missing"
    versions = ", ".join(f"{name} {number}" for name, number in summary["versions"].items() if number)
    return [f"{summary['captioned']} captions of {summary['data']}; {left}.", f"{versions}; {summary['device']}."]


def _published(summary: dict) -> tuple[dict, str]:
    """Rows of the papers about the same data set, else of all, and what keeps them from being compared."""
    import pandas as pd

    table = pd.read_csv(PUBLISHED)
    of_set = table["dataset"].str.lower().str.startswith(summary["data"].lower())
    warning = f"These captions are of {summary['captioned']} clips of {summary['data']}"
    if of_set.any():
        table = table[of_set]
        warning += "; n and protocol of each published row are in its second column and may differ."
    else:
        warning += ": another data set than any published row's, so no number here can be compared with them."
    wide = table.pivot_table(index=["system", "dataset", "source"], columns="metric", values="value_x100", sort=False)
    values = (wide / 100).astype(object).where(wide.notna(), None)
    rows = values.reset_index()[["system", "dataset", *values.columns, "source"]].to_numpy().tolist()
    return {"columns": list(values.columns), "rows": rows}, warning


def _heard(clip: Clip) -> dict[str, str | float | None]:
    """A clip's sound and spectrogram as data URIs, and their seconds; None of what cannot be read as a sound."""
    import av

    file, levels, length = io.BytesIO(), [], 0
    try:
        with av.open(file, "w", format="mp3") as container:
            stream = container.add_stream("mp3", rate=RATE, layout="mono")
            for block in stream_audio(str(clip.source), RATE):
                frame = av.AudioFrame.from_ndarray(np.clip(block, -1, 1)[None], "fltp", "mono")
                frame.sample_rate = RATE
                container.mux(stream.encode(frame))
                levels.append(_levels(block[: len(block) // FRAME * FRAME]))
                length += len(block)
                if length >= LONGEST * RATE:
                    break
            container.mux(stream.encode())
    except UnreadableSource:
        return {"audio": None, "picture": None, "seconds": None}
    picture = _uri("image/png", _picture(np.concatenate(levels)))
    return {"audio": _uri("audio/mpeg", file.getvalue()), "picture": picture, "seconds": length / RATE}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _levels(samples: np.ndarray) -> np.ndarray:
    """Of frames, in dB, from 8 kHz down: float16, shape = (frames, HEIGHT)."""
    power = np.square(np.abs(np.fft.rfft(samples.reshape(-1, FRAME) * np.hanning(FRAME))))
    return np.float16(_resized(10 * np.log10(power[:, ::-1] + 1e-12), HEIGHT, axis=1))


def _resized(values: np.ndarray, number: int, axis: int) -> np.ndarray:
    """So many along an axis: the largest of those that fall together, or each several times."""
    return np.maximum.reduceat(values, np.arange(number) * values.shape[axis] // number, axis=axis)


def _picture(levels: np.ndarray) -> bytes:
    """A spectrogram, a png: 80 dB from black to bright."""
    import av

    width = int(np.clip(PIXELS * len(levels) * FRAME / RATE, *WIDTHS))
    level = np.float64(_resized(levels, width, axis=0).T)
    shade = np.clip((level - level.max()) / 80 + 1, 0, 1)
    channels = [np.interp(shade, np.linspace(0, 1, len(COLOURS)), channel) for channel in zip(*COLOURS, strict=True)]
    frame = av.VideoFrame.from_ndarray(np.stack(channels, -1).astype(np.uint8), format="rgb24")
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, HEIGHT, "rgb24", 1
    return b"".join(bytes(packet) for packet in codec.encode(frame))
