"""What `zscap` can do, a function for each command.

Only what every command needs is imported here: a wrong option is said at once, not after torch's seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from importlib import import_module
from operator import length_hint
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidOption, UnreadableSource, ZscapError, one_line
from ..options import DecodingOptions

if TYPE_CHECKING:
    from ..decoding import Captioner
    from ..files.output import Output
    from ..roles import Source

log = logging.getLogger("zscap")
app = typer.Typer(add_completion=False, no_args_is_help=True, help="Captions for sounds, without training a captioner.")

DATA = "soundscapes, esc50, kitchen20, audiocaps, clotho, or a .csv with the columns file and caption."

# What several commands take.
Preset = Annotated[str, typer.Option(help="Which networks and settings; `zscap presets` lists them.")]
Changes = Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="One of `zscap options`; may be repeated.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps.")]
ScoringDtype = Annotated[str | None, typer.Option(help="float16 or bfloat16: score texts in half precision.")]
BatchSize = Annotated[int, typer.Option(min=1, max=10_000, help="Recordings decoded together.")]
Report = Annotated[Path | None, typer.Option(help="Write a page to look at and listen to, e.g. page.html.")]
Clips = Annotated[int | None, typer.Option(min=1, help="Take the first so many.")]
Run = Annotated[Path, typer.Argument(metavar="DIR", help="Of a run: what `zscap evaluate --out` was given.")]


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        typer.echo(f"zscap {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


# --- Captions --------------------------------------------------------------------------------------------------------


@app.command()
def caption(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Recordings, and folders to be walked.")],
    preset: Preset = "small",
    set: Changes = (),
    keywords: Annotated[Path | None, typer.Option(help="A file of names for keywords, one a line.")] = None,
    out: Annotated[Path | None, typer.Option(help="Append rows here, a table if it is a .csv, or JSON lines.")] = None,
    windows: Annotated[float | None, typer.Option(min=1, max=3600, help="A caption for every so many seconds.")] = None,
    events: Annotated[bool, typer.Option("--events", help="Say which sounds are heard when; no captions.")] = False,
    device: Device = "cpu",
    scoring_dtype: ScoringDtype = None,
    batch_size: BatchSize = 16,
    report: Report = None,
) -> None:
    """Caption recordings, or what else the preset takes. One line a recording: to stdout, or as a row to --out.

    A run with --out that was cut off goes on when the command is repeated; what failed is tried again. The exit status
    is 1 if any recording failed; the others are captioned all the same.

    With --windows or --events, --out may be WebVTT (.vtt), SubRip (.srt) or Audacity's labels (.txt) of one recording.
    The rows that such a file, or one of --events, is made of lie beside it in one whose name ends in .jsonl.
    """
    from ..preset.load import about, load, load_listener

    changes = _changes(preset, set)
    if keywords is not None:
        from ..keywords import read_keywords

        changes["keywords"] = read_keywords(keywords)
    options = about(preset).options.override(**changes)

    from ..files.output import Output
    from ..sources import find_sources
    from .timed import SUFFIXES, Stretches, check_times, listen, rows_beside, write_times

    found = find_sources(paths, about(preset).takes)
    sources, output, rows = found.sources, None, {}
    beside = check_times(out, sources, about(preset).takes, windows, events, report)
    if out is not None:
        settings = {"preset": preset, "options": {name: getattr(options, name) for name in changes}}
        settings["options"].pop("keywords", None)
        settings |= {"keywords": _keyword_list(options, keywords), "device": device, "scoring_dtype": scoring_dtype}
        settings |= {"windows": windows} if windows else {"only": "events"} if events else {}
        if beside and out.suffix.lower() in SUFFIXES:
            settings["recording"] = sources[0]
        read = sources if keywords is None else [*sources, keywords]
        output = Output(rows_beside(out) if beside else out, settings, read)
        sources = output.remaining(sources)
    with output or nullcontext():
        if sources and events:
            captioner = load_listener(preset, device=device, scoring_dtype=scoring_dtype)
        elif sources or report:  # loading takes seconds
            captioner = load(preset, device=device, scoring_dtype=scoring_dtype, batch_size=batch_size, **changes)
        for line in (*found.notes, *found.errors):
            log.warning(line)
        work = Stretches(sources, windows, output) if windows else sources
        if not sources:
            failed = 0
        elif events:
            failed = listen(captioner, sources, output, rows)
        else:
            failed = _caption(captioner, work, output, rows, work.names if windows else {})
        news = any(row["error"] is None for row in rows.values())  # else a file may have been mended by hand
        if beside and (events or not failed) and (news or not (failed or out.exists())):
            write_times(out, output)
    failed += len(found.errors)
    if output is not None and windows:
        log.info("%d stretches captioned, %d failed: %s", len(rows) - failed, failed, output.path if failed else out)
    elif output is not None:
        done, there = len(sources) + len(found.errors) - failed, len(found.sources) - len(sources)
        what = "listened to" if events else "captioned"
        log.info("%d %s, %d failed, %d already there: %s", done, what, failed, there, out)
    if report is not None:
        from ..evaluation.report import report_captions

        names = work.names if windows else found.sources
        report_captions(report, captioner, [rows.get(name) or output.row(name) for name in names])
        log.info("a page of %d recordings: %s", len(found.sources), report)
    if failed:
        raise typer.Exit(1)


def _caption(
    captioner: Captioner,
    sources: Iterable[Source],
    output: Output | None,
    rows: dict[str, dict],
    names: Mapping[str, bool],
) -> int:
    """Caption sources into a file or to stdout, and into rows by source. Returns how many failed.

    Args:
        names: whether a source is a stretch, by its name, in which nothing but silence is unreadable.
    """
    from tqdm import tqdm

    failed = 0
    with tqdm(total=length_hint(sources) or None, unit="clip", disable=None) as bar:  # no bar unless on a terminal
        for made in captioner.stream(sources):
            bar.update()
            if isinstance(made.error, UnreadableSource) and names.get(made.source):
                made = dataclasses.replace(made, text="Silence.", error=None)
            rows[made.source] = vars(made) | {"error": made.error and str(made.error)}
            if made.error is not None:
                failed += 1
                log.error(made.error)
            if output is not None:
                output.write(made)
            elif made.error is None:
                tqdm.write(one_line(made.source) + "\t" + one_line(made.text), file=sys.stdout)
    return failed


def _changes(preset: str, texts: list[str]) -> dict:
    """Options by name, each written as NAME=VALUE."""
    from ..preset.load import about

    kind, changes = type(about(preset).options), {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidOption(f"--set {text}: must be NAME=VALUE, e.g. --set beam_size=3")
        changes[name] = kind.parse(name, value)
    return changes


def _keyword_list(options: DecodingOptions, file: Path | None) -> str | None:
    """Which names keywords are chosen from: where they are from, and their checksum."""
    if not options.num_keywords:
        return None
    from ..keywords import default_keywords

    names = options.keywords or default_keywords()
    origin = "default" if not options.keywords else "--set" if file is None else file.name
    return f"{origin}, sha256 {hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}"


# --- Presets ---------------------------------------------------------------------------------------------------------


@app.command("presets")
def list_presets() -> None:
    """List the presets: what each takes, and what this machine lacks for it."""
    from ..preset.load import presets

    table = presets()
    names, kinds = max(map(len, table.index)), max(map(len, table.takes))
    for name, row in table.iterrows():
        ready = "ready" if row.ready else "not ready"
        typer.echo(f"{name:<{names}}  {ready:<9}  {row.takes:<{kinds}}  {row.description}")
        if row.missing:
            typer.echo(f"    missing: {row.missing}")


@app.command("options")
def list_options(
    guidance: Annotated[str | None, typer.Argument(help="steering, proximal, magic, or a preset's name.")] = None,
) -> None:
    """List the options with their values, by default or in a preset, and what they mean."""
    from ..preset.load import OPTIONS, about

    for name in OPTIONS if guidance is None else [guidance]:
        options = OPTIONS[name]() if name in OPTIONS else about(name).options
        typer.echo(f"{name}: {type(options).__doc__.splitlines()[0]}")
        for each in dataclasses.fields(options):
            setting = f"  {each.name} = {json.dumps(getattr(options, each.name))}"
            meaning = f"{each.metadata.get('help', '')} ({options.rule(each.name)})"
            columns = max(shutil.get_terminal_size().columns, 80)
            typer.echo(textwrap.fill(f"{setting:<38}  {meaning}", columns, subsequent_indent=" " * 40))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Preset, captions, recordings, audibility, audioset, audiocaps, clotho.")],
    check: Annotated[bool, typer.Option("--check", help="Read every file whole; replace what is damaged.")] = False,
) -> None:
    """Download a data set, or what a preset needs from the model hub."""
    from ..preset.load import fetch as fetched

    fetched(name, check=check)


# --- Evaluation ------------------------------------------------------------------------------------------------------


@app.command()
def evaluate(
    table: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA)] = None,
    data: Annotated[str | None, typer.Option(help="The same.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for captions and scores; runs/DATA by default.")] = None,
    preset: Preset = "small",
    set: Changes = (),
    clips: Clips = None,
    shard: Annotated[str, typer.Option(metavar="K/N", help="Every n-th clip, from the k-th on; see merge.")] = "1/1",
    device: Device = "cpu",
    scoring_dtype: ScoringDtype = None,
    batch_size: BatchSize = 16,
    report: Report = None,
) -> None:
    """Caption a data set and measure the captions, by the field's metrics and by zscap's own.

    A run that was cut off goes on when the command is repeated. What cannot be measured here is listed with its reason.
    The exit status is 1 if recordings are missing or could not be read; the others are measured all the same.
    """
    if (table is None) == (data is None):
        raise InvalidOption("zscap evaluate takes one data set: a name or a .csv file, e.g. zscap evaluate own.csv")
    from ..evaluation.runs import run

    data = table or data
    out = out or Path("runs", Path(data).stem)
    machine = {"device": device, "scoring_dtype": scoring_dtype, "batch_size": batch_size}
    _say(run(preset, data, out, shard=shard, clips=clips, report=report, **machine, **_changes(preset, set)), out)


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs of all shards of a data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the whole run.")],
) -> None:
    """Put the shards of a data set together to one run; in a clone of the repository."""
    _say(_studies("zscap merge").merge(runs, out), out)


def _say(summary: dict, out: Path) -> None:
    from ..evaluation.runs import left_out, lines

    typer.echo("\n".join(lines(summary)))
    failures = left_out(summary)
    for line in failures:
        log.error(line)
    log.info("measures of %d captions: %s", summary["captioned"], out / "summary.json")
    if failures:
        raise typer.Exit(1)


@app.command()
def compare(first: Run, second: Run) -> None:
    """Say which differences between two runs on the same data are real, by paired bootstrap over clips."""
    from ..evaluation.runs import compare as compared

    table = compared(first, second)
    typer.echo(f"second minus first, with 95 % intervals: {first} and {second}")
    for name, row in table.iterrows():
        means = f"{row['first']:8.3f} {row['second']:8.3f}"
        ends = f"({row['low']:+.3f} to {row['high']:+.3f})"
        verdict = "real" if row["real"] else "not told apart"
        typer.echo(f"  {name:<18} {means}  {row['difference']:+.3f} {ends:<20} n={row['n']:<5} {verdict}")


# --- In a clone of the repository ------------------------------------------------------------------------------------


def _studies(command: str) -> ModuleType:
    """What lies beside the notebooks.

    Raises:
        ZscapError: it is not there, as where zscap came as a wheel, or lacks a package that it needs.
    """
    try:
        return import_module("studies.commands")
    except ModuleNotFoundError as error:
        fix = f"it lacks {error.name}, pip install 'zscap[notebooks]'"
        if error.name.startswith("studies"):
            fix = "get one and `pip install -e .` there"
        raise ZscapError(f"{command} needs a clone of the repository: {fix}") from None


@app.command()
def paper(
    table: Annotated[str | None, typer.Argument(help="Of data/papers.toml; without one, all are listed.")] = None,
    presets: Annotated[str, typer.Option(help="Whose networks: papers (the authors'), small, embedded.")] = "papers",
    data: Annotated[str | None, typer.Option(help="In the place of the paper's data, as for `zscap evaluate`.")] = None,
    clips: Clips = None,
    out: Annotated[Path | None, typer.Option(help="Folder for table.csv and the runs; runs/papers by default.")] = None,
    device: Device = "cpu",
) -> None:
    """Make a table of a paper, by the authors' networks or others, with the published values beside."""
    _studies("zscap paper").make_table(table, out, presets, data=data, clips=clips, device=device)


@app.command("run")
def run_notebook(
    notebook: Annotated[str | None, typer.Argument(help="Number, name or path; without one, all are listed.")] = None,
    values: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="May be repeated.")] = None,
    file: Annotated[Path | None, typer.Option("-f", help="Parameters in a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The executed notebook; in the clone's runs/ by default.")] = None,
    explain: Annotated[bool, typer.Option("--parameters", help="List its parameters, and run nothing.")] = False,
) -> None:
    """Execute a notebook, after its parameters were checked."""
    studies = _studies("zscap run")
    if notebook and explain:
        studies.explain(notebook)
    else:
        studies.run(notebook, parameter or [], values or [], file, out)
