"""Captions of recordings, presets and their options, and what is fetched for them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UnknownPreset, one_line, suggestion
from ..options import DecodingOptions
from .common import BatchSize, Changes, Device, Preset, Report, ScoringDtype, app, change, complain

if TYPE_CHECKING:
    from ..decoding import Captioner


@app.command()
def caption(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Recordings, and folders to be walked.")],
    preset: Preset = "small",
    set: Changes = (),
    keywords: Annotated[Path | None, typer.Option(help="A file of names for keywords, one a line.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Append rows here: a table if it ends in .csv, else JSON lines.")
    ] = None,
    device: Device = "cpu",
    scoring_dtype: ScoringDtype = None,
    batch_size: BatchSize = 16,
    report: Report = None,
) -> None:
    """Caption recordings, or what else the preset takes. One line a recording: to stdout, or as a row to --out.

    A run with --out that was cut off goes on when the command is repeated; what failed is tried again. The exit status
    is 1 if any recording failed; the others are captioned all the same.
    """
    from ..preset.load import about, load

    chosen = about(preset)
    changes = dict(change(text, type(chosen.options)) for text in set)
    if keywords is not None:
        from ..keywords import read_keywords

        changes["keywords"] = read_keywords(keywords)
    options = chosen.options.override(**changes)

    from tqdm import tqdm

    from ..files.output import Output
    from ..sources import find_sources

    found = find_sources(paths, chosen.takes)
    sources = found.sources
    output = None
    if out is not None:
        settings = {
            "preset": preset,
            "options": {name: getattr(options, name) for name in changes if name != "keywords"},
            "keywords": _keyword_list(options, keywords),
            "device": device,
            "scoring_dtype": scoring_dtype,
        }
        output = Output(out, settings, sources if keywords is None else [*sources, keywords])
        sources = output.remaining(sources)
    with output or nullcontext():
        made_captions, rows = (), {} if output is None else output.rows()
        if sources or report:  # loading takes seconds
            captioner = load(preset, device=device, scoring_dtype=scoring_dtype, batch_size=batch_size, **changes)
        if sources:
            made_captions = captioner.stream(sources)
        for line in (*found.notes, *found.errors):
            complain(line)
        failed = len(found.errors)
        with tqdm(total=len(sources), unit="clip", disable=None) as bar:  # None: no bar unless stderr is a terminal
            for made in made_captions:
                bar.update()
                rows[made.source] = vars(made) | {"error": made.error and str(made.error)}
                if made.error is not None:
                    failed += 1
                    tqdm.write(f"zscap: {made.error}", file=sys.stderr)
                if output is not None:
                    output.write(made)
                elif made.error is None:
                    tqdm.write(one_line(made.source) + "\t" + one_line(made.text), file=sys.stdout)
    if output is not None:
        captioned = len(sources) + len(found.errors) - failed
        there = len(found.sources) - len(sources)
        complain(f"{captioned} captioned, {failed} failed, {there} already there: {out}")
    if report is not None:
        _write_report(report, captioner, found.sources, rows)
        complain(f"a page of {len(found.sources)} recordings: {report}")
    if failed:
        raise typer.Exit(1)


def _write_report(file: Path, captioner: Captioner, sources: list[str], rows: dict[str, dict]) -> None:
    import pandas as pd

    from ..evaluation.datasets import Clip
    from ..evaluation.report import unguided, write_report

    clips = [Clip(source, Path(source)) for source in sources]
    columns = ["text", "error", "matching", "classifier", "log_likelihood"]
    table = pd.DataFrame([rows[source] for source in sources], columns=columns).replace("", None)
    numbers = {name: pd.to_numeric(table[name]) for name in columns[2:]}
    write_report(file, "Captions by zscap", clips, table.assign(**numbers), without=unguided(captioner, clips))


@app.command("presets")
def list_presets() -> None:
    """List the presets: what each takes, and what this machine lacks for it."""
    from ..preset.load import presets

    table = presets()
    widths = [max(map(len, column)) for column in (table.index, ("not ready",), table.takes)]
    for name, row in table.iterrows():
        cells = (name, "ready" if row.ready else "not ready", row.takes)
        aligned = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        typer.echo(f"{aligned}  {row.description}")
        if row.missing:
            typer.echo(f"    missing: {row.missing}")


@app.command("options")
def list_options(
    guidance: Annotated[str | None, typer.Argument(help="steering, proximal, magic, or a preset's name.")] = None,
) -> None:
    """List the options with their values, by default or in a preset, and what they mean."""
    from ..preset.load import OPTIONS, all_presets

    known = {name: kind() for name, kind in OPTIONS.items()}
    if guidance is not None:
        known |= {name: preset.options for name, preset in all_presets().items()}
        if guidance not in known:
            raise UnknownPreset(f"unknown guidance or preset {guidance!r}: {suggestion(guidance, known)}")
        known = {guidance: known[guidance]}
    for name, options in known.items():
        typer.echo(f"{name}: {type(options).__doc__.splitlines()[0]}")
        typer.echo("\n".join(_described(options)))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A preset, or a data set: audibility, audioset, audiocaps, clotho.")],
    check: Annotated[
        bool, typer.Option("--check", help="Read every file whole, compare checksums, replace what is damaged.")
    ] = False,
) -> None:
    """Download a data set, or what a preset needs from the model hub."""
    from ..preset.load import fetch as fetch_weights

    fetch_weights(name, check=check)


def _keyword_list(options: DecodingOptions, file: Path | None) -> str | None:
    """Which names keywords are chosen from: where they are from, and their checksum."""
    if not options.num_keywords:
        return None
    from ..keywords import BUNDLED, default_keywords, read_keywords

    names = options.keywords or default_keywords()
    if options.keywords:
        origin = "--set" if file is None else file.name
    else:
        origin = "zscap's own" if names == read_keywords(BUNDLED) else "AudioSet"
    return f"{origin}, sha256 {hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}"


def _described(options: DecodingOptions) -> list[str]:
    """Lines of an option each: name, value, meaning and rule."""
    fields = dataclasses.fields(options)
    settings = [f"  {each.name} = {json.dumps(getattr(options, each.name))}" for each in fields]
    width = min(max(map(len, settings)), 40) + 2
    layout = {"width": max(shutil.get_terminal_size().columns, width + 40), "subsequent_indent": " " * width}
    lines = []
    for each, setting in zip(fields, settings, strict=True):
        if len(setting) > width - 2:  # a prompt would push all meanings out of sight
            lines.append(setting)
            setting = ""
        meaning = f"{each.metadata.get('help', '')} ({options.rule(each.name)})"
        lines.append(textwrap.fill(f"{setting:<{width}}{meaning}", **layout))
    return lines
