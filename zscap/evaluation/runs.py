"""Runs: captions of a data set and their measures, in a folder that a run which was cut off goes on with.

Which differences between two runs are real says a paired bootstrap over the clips that both have captioned.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidData, one_line
from ..files.output import Output, write_whole
from ..preset.load import about, load
from ..store import read_store
from .datasets import Dataset, read_dataset
from .overlap import check_store

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("zscap", "torch", "transformers", "aac-metrics", "pycocoevalcap")
CAPTIONS, SCORES, SUMMARY = "captions.jsonl", "scores.csv", "summary.json"


def run(
    preset: str,
    data: str | Path,
    out: str | Path,
    *,
    shard: str = "1/1",
    clips: int | None = None,
    folder: str | Path | None = None,
    device: str = "cpu",
    scoring_dtype: str | None = None,
    batch_size: int = 16,
    report: str | Path | None = None,
    **changes,
) -> dict:
    """Caption a data set, and measure the captions; cut off and started again, it goes on.

    Args:
        preset: a name that `presets()` lists.
        data: a name of `DATASETS`, or a csv file with the columns `file` and `caption`.
        out: folder for captions.jsonl, which grows clip by clip, scores.csv with a row for each clip, and summary.json.
        clips: take the first so many; None takes all.
        shard: "k/n" takes every n-th clip from the k-th on; `zscap merge` puts n such runs together.
        folder: where published sets lie; None is `data_folder()`.
        device, scoring_dtype, batch_size: as of `load`.
        report: a page to write, see `report.write_report`.
        changes: options that differ from the preset's, by name.

    Returns:
        What summary.json holds: `measures` by name (see `reference_free.measured`), and all that made them. Only
        `timing` differs from run to run.

    Raises:
        InvalidData, UnknownPreset, InvalidOption, MissingWeights: as `read_dataset`, `check_store` and `load` do.
        UnwritableOutput: the folder holds captions of other settings, or another run is writing there.
    """
    from tqdm import tqdm

    number, _, of = shard.partition("/")
    if not (number.isdecimal() and of.isdecimal()):
        raise InvalidData(f"shard {shard!r}: must be k/n, e.g. 1/4")
    whole = read_dataset(data, folder).first(clips)
    dataset = whole.part(int(number), int(of))
    chosen = about(preset)
    options = chosen.options.override(**changes)
    if options.store:
        check_store(read_store(options.store), [clip.references for clip in whole.clips])
    settings = {"preset": preset, "options": asdict(options), "device": device, "scoring_dtype": scoring_dtype}
    out, names, started = Path(out), [clip.name for clip in dataset.clips], time.perf_counter()
    with Output(out / CAPTIONS, settings, names) as output:
        remaining = set(output.remaining(names))
        left = [clip for clip in dataset.clips if clip.name in remaining]
        if left or report:
            captioner = load(preset, device=device, scoring_dtype=scoring_dtype, batch_size=batch_size, **changes)
        stream = captioner.stream(str(clip.source) for clip in left) if left else ()
        for clip, made in zip(left, tqdm(stream, total=len(left), unit="clip", disable=None), strict=True):
            output.write(replace(made, source=clip.name))
    timing = {"seconds": round(time.perf_counter() - started, 3), "captioned": len(left)}
    files = {role: part.weights for role, part in chosen.parts.items()}
    versions = {name: next((of.version for of in metadata.distributions(name=name)), None) for name in PACKAGES}
    facts = settings | {
        "data": dataset.name,
        "shard": shard,
        "clips": len(whole.clips),
        "data_sha256": whole.checksum(),
        "versions": {"python": platform.python_version()} | versions,
        "weights": {role: {name: of.checksum(name) for name in of.names} for role, of in files.items()},
    }
    summary = measure(dataset, facts, out, timing)
    if report:
        from .report import events_of, unguided, write_report

        more = {"without": unguided(captioner, dataset.clips)}
        more["timelines"] = [{"events": events_of(row)} for row in map(rows_of(out).get, names)]
        write_report(report, f"{preset} on {dataset.name}", dataset.clips, read_scores(out), summary=summary, **more)
    return summary


def rows_of(folder: str | Path) -> dict[str, dict]:
    """The rows of captions.jsonl by clip; of a clip that was tried again, the last."""
    with Path(folder, CAPTIONS).open(encoding="utf-8", errors="surrogateescape") as file:
        return {row["source"]: row for row in map(json.loads, file)}


def measure(dataset: Dataset, facts: dict, out: Path, timing: dict) -> dict:
    """Measures the captions in a folder, writes scores.csv and summary.json there, and returns the summary."""
    import pandas as pd

    from .reference_free import measured

    rows = rows_of(out)
    numbers = ["matching", "classifier", "log_likelihood"]
    table = pd.DataFrame(
        [{"clip": clip.name, "sound": clip.sound} | rows[clip.name] for clip in dataset.clips],
        columns=["clip", "sound", "text", "events", *numbers, "error"],
    ).astype(dict.fromkeys(numbers, float))
    scores, measures = measured(table, dataset.clips, facts["preset"])
    failed = table[table["text"].isna()]
    summary = dict(sorted(facts.items())) | {
        "captioned": int(table["text"].notna().sum()),
        "failed": dict(zip(failed["clip"], failed["error"], strict=True)),
        "missing": dataset.missing,
        "measures": measures,
        "timing": timing,
    }
    write_whole(out / SCORES, scores.round(6).to_csv(index=False), "--out")
    write_whole(out / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n", "--out")
    return read_summary(out)


def read_summary(folder: str | Path) -> dict:
    """What summary.json of a run holds.

    Raises:
        InvalidData: there is none, so the run has not ended, or it is damaged.
    """
    try:
        summary = json.loads((Path(folder) / SUMMARY).read_text(encoding="utf-8", errors="surrogateescape"))
        if not isinstance(summary, dict) or not {"measures", "preset", "data", "shard", "timing"} <= summary.keys():
            raise ValueError("not a summary")
        return summary
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidData(
            f"{folder}: holds no run that has ended ({one_line(str(error))}); repeat zscap evaluate"
        ) from None


def read_scores(folder: str | Path) -> pd.DataFrame:
    """What scores.csv of a run holds: a row for each clip, indexed by `clip`.

    Raises:
        InvalidData: there is none, or it is damaged.
    """
    import pandas as pd

    try:
        return pd.read_csv(Path(folder) / SCORES, encoding="utf-8", encoding_errors="surrogateescape").set_index("clip")
    except (OSError, ValueError, KeyError) as error:
        raise InvalidData(f"{folder}: holds no scores ({one_line(str(error))}); repeat zscap evaluate") from None


def same_data(first: str | Path, second: str | Path) -> tuple[dict, tuple[pd.DataFrame, pd.DataFrame]]:
    """The first's summary, and the scores of two runs.

    Raises:
        InvalidData: a folder holds no run, or they are of different data.
    """
    summaries = read_summary(first), read_summary(second)
    if summaries[0]["data_sha256"] != summaries[1]["data_sha256"]:
        raise InvalidData(
            f"{second}: its data, {summaries[1]['data']}, are not those of {first}; compare runs on the same"
        )
    return summaries[0], (read_scores(first), read_scores(second))


def compare(first: str | Path, second: str | Path) -> pd.DataFrame:
    """Compare two runs on the same data, measure by measure.

    Each clip's difference is one observation, so clips that are hard for both count for little. A difference is called
    real if its 95 % bootstrap interval leaves out 0; of twenty measures without any, one is called so by chance.

    Args:
        first, second: folders of runs.

    Returns:
        DataFrame, a row for each measure of single captions that both have: `first`, `second` (means over the clips of
        both), `difference` (second minus first), `low`, `high`, `real` and `n`.

    Raises:
        InvalidData: a folder holds no run, or they are of different data.
    """
    import pandas as pd

    from .intervals import bootstrap_interval

    _, scores = same_data(first, second)
    both = scores[0].index.intersection(scores[1].index)
    rows = []
    for name in scores[0].columns:
        if name not in scores[1] or name in ("sound", "text", "error"):
            continue
        pairs = pd.concat([each.loc[both, name].astype(float) for each in scores], axis=1).dropna()
        if len(pairs) < 2:
            continue
        one, other = pairs.to_numpy().T
        low, high = bootstrap_interval(other - one)
        row = {"measure": name, "first": one.mean(), "second": other.mean(), "difference": (other - one).mean()}
        rows.append(row | {"low": low, "high": high, "real": bool(low > 0 or high < 0), "n": len(pairs)})
    return pd.DataFrame(rows).set_index("measure") if rows else pd.DataFrame(rows)


def lines(summary: dict) -> list[str]:
    """A summary in lines: what was measured, n, value and interval; gaps with their reasons."""
    said = [f"{summary['preset']} on {summary['data']}: {summary['captioned']} captions"]
    if summary["failed"] or summary["missing"]:
        said[0] += f", {len(summary['failed'])} failed, {len(summary['missing'])} recordings missing"
    for name, measure in summary["measures"].items():
        if "gap" in measure:
            said.append(f"  {name:<18} -      {measure['gap']}")
        else:
            ends = "" if measure["low"] is None else f"({measure['low']:.3f} to {measure['high']:.3f})"
            said.append(f"  {name:<18} {measure['value']:<8.3f} {ends:<20} n={measure['n']}  {measure['scale']}")
    return said


def left_out(summary: dict) -> list[str]:
    """Which clips have no caption, and why: a line each."""
    missing = [f"{name}: no such file; it was left out" for name in summary["missing"]]
    return missing + [f"{name}: {error}" for name, error in summary["failed"].items()]
