"""Runs over data sets: measured, put together, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import BatchSize, Changes, Device, Preset, Report, ScoringDtype, app, change, complain

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Of a run: what `zscap evaluate --out` was given.")]


@app.command()
def evaluate(
    data: Annotated[
        str,
        typer.Option(help="soundscapes, esc50, kitchen20, audiocaps, clotho, or a .csv with columns file, caption."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for captions.jsonl, scores.csv and summary.json.")],
    preset: Preset = "small",
    set: Changes = (),
    clips: Annotated[int | None, typer.Option(min=1, help="Take the first so many.")] = None,
    shard: Annotated[
        str, typer.Option(metavar="K/N", help="Every n-th clip from the k-th on, see `zscap merge`.")
    ] = "1/1",
    device: Device = "cpu",
    scoring_dtype: ScoringDtype = None,
    batch_size: BatchSize = 16,
    report: Report = None,
) -> None:
    """Caption a data set and measure the captions, by the field's metrics and by zscap's own.

    A run that was cut off goes on when the command is repeated. What cannot be measured here is listed with its reason.
    The exit status is 1 if recordings are missing or could not be read; the others are measured all the same.
    """
    from ..evaluation.runs import run
    from ..preset.load import about

    changes = dict(change(text, type(about(preset).options)) for text in set)
    machine = {
        "device": device,
        "scoring_dtype": scoring_dtype,
        "batch_size": batch_size,
        "report": report,
        "clips": clips,
    }
    _say(run(preset, data, out, shard=shard, **machine, **changes), out)


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs of all shards of a data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the whole run.")],
) -> None:
    """Put the shards of a data set together to one run."""
    from ..evaluation.runs import merge as merged

    _say(merged(runs, out), out)


@app.command()
def compare(first: Folder, second: Folder) -> None:
    """Say which differences between two runs on the same data are real, by paired bootstrap over clips."""
    from ..evaluation.comparison import compare as compared

    table = compared(first, second)
    typer.echo(f"second minus first, with 95 % intervals: {first} and {second}")
    for name, row in table.iterrows():
        means = f"{row['first']:8.3f} {row['second']:8.3f}"
        ends = f"({row['low']:+.3f} to {row['high']:+.3f})"
        verdict = "real" if row["real"] else "not told apart"
        typer.echo(f"  {name:<18} {means}  {row['difference']:+.3f} {ends:<20} n={row['n']:<5} {verdict}")


@app.command()
def paper(
    table: Annotated[str | None, typer.Argument(help="Of data/papers.toml; without one, all are listed.")] = None,
    presets: Annotated[str, typer.Option(help="Whose networks: papers (the authors'), small, embedded.")] = "papers",
    data: Annotated[str | None, typer.Option(help="In the place of the paper's data, as for `zscap evaluate`.")] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Take the first so many.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for table.csv and the runs; runs/papers by default.")] = None,
    device: Device = "cpu",
) -> None:
    """Make a table of a paper, by the authors' networks or others, with the published values beside."""
    from studies.papers import paper as made
    from studies.papers import papers

    if table is None:
        for name, entry in papers()["tables"].items():
            typer.echo(f"{name:<20} {entry['paper']}: {entry['what']}")
        return
    out = out or Path("runs", "papers", f"{table} {presets}")
    rows = made(table, out, presets=presets, data=data, clips=clips, device=device)
    rows = rows.astype(object).where(rows.notna(), None)
    for name, group in rows.groupby("row", sort=False):
        typer.echo(f"{name} ({group['preset'].iloc[0] or 'no preset'}, {group['data'].iloc[0]})")
        for line in group.to_dict("records"):
            typer.echo(f"  {_line(line)}")
    complain(f"{table}: {out / 'table.csv'}")


def _line(row: dict) -> str:
    text = f"{row['measure']:<20}"
    text += f"-      {row['gap']}" if row["gap"] else f"{row['value']:<7.3f}n={row['n']:.0f}"
    if row["published"] is not None:
        text += f"  published {row['published']:.3f}" + ("" if row["same_data"] else ", of other data")
    return text


def _say(summary: dict, out: Path) -> None:
    from ..evaluation.runs import left_out, readable

    for line in readable(summary):
        typer.echo(line)
    failures = left_out(summary)
    for line in failures:
        complain(line)
    complain(f"measures of {summary['captioned']} captions: {out / 'summary.json'}")
    if failures:
        raise typer.Exit(1)
