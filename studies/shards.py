"""Shards of a run, as the workflow makes them, put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from zscap.errors import InvalidData
from zscap.evaluation.datasets import read_dataset
from zscap.evaluation.runs import CAPTIONS, measure, read_summary, rows_of
from zscap.files.output import Output, write_whole

OUTCOME = frozenset(["captioned", "failed", "missing", "measures", "timing"])  # of a summary; the rest made it


def merge(folders: Sequence[str | Path], out: str | Path, *, folder: str | Path | None = None) -> dict:
    """One run of the shards of a data set; the result is that of a single run, but for times.

    Args:
        folders: of runs with shard="1/n" to "n/n".
        out: folder of the new run.
        folder: as of `run`.

    Raises:
        InvalidData: a folder holds no run, they are of different settings, or shards are absent or there twice.
    """
    summaries = [read_summary(each) for each in folders]
    for name in summaries[0].keys() - OUTCOME - {"shard"}:
        for each, summary in zip(folders, summaries, strict=True):
            if summary[name] != summaries[0][name]:
                raise InvalidData(f"{each}: its {name} is not that of {folders[0]}; merge runs of the same settings")
    shards = sorted((summary["shard"] for summary in summaries), key=lambda shard: int(shard.partition("/")[0]))
    count = len(shards)
    if shards != [f"{number}/{count}" for number in range(1, count + 1)]:
        raise InvalidData(f"shards {', '.join(shards)}: give each of 1/n to n/n once")
    first, out = summaries[0], Path(out)
    whole = read_dataset(first["data"], folder).first(first["clips"])
    if whole.checksum() != first["data_sha256"]:
        raise InvalidData(f"data {first['data']!r} have changed since the runs of {folders[0]}: run them again")
    rows = {name: row for each in folders for name, row in rows_of(each).items()}
    settings = {name: first[name] for name in ("preset", "options", "device", "scoring_dtype")}
    with Output(out / CAPTIONS, settings, list(rows)):  # which refuses what is of other settings
        kept = (json.dumps(rows[clip.name]) + "\n" for clip in whole.clips if clip.name in rows)
        write_whole(out / CAPTIONS, "".join(kept), "--out")
    timing = {name: sum(summary["timing"][name] for summary in summaries) for name in first["timing"]}
    facts = {name: first[name] for name in first.keys() - OUTCOME}
    return measure(whole, facts | {"shard": "1/1"}, out, timing)
