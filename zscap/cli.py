"""The command line: caption recordings, list presets, fetch data and weights."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from .errors import InvalidOption, UnreadableSource, UnwritableOutput, ZscapError
from .options import DecodingOptions
from .preset.load import about, downloads, load
from .preset.load import fetch as fetch_weights
from .preset.load import presets as table_of_presets
from .sources import find_sources

if TYPE_CHECKING:
    from .caption import Caption

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Captions for sounds, without training a captioner.")


@app.command()
def caption(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Recordings, and folders to be walked.")],
    preset: Annotated[str, typer.Option(help="Which networks and settings; `zscap presets` lists them.")] = "embedded",
    set: Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="Change an option; may be repeated.")] = (),
    keywords: Annotated[Path | None, typer.Option(help="A file of names for keywords, one a line.")] = None,
    out: Annotated[Path | None, typer.Option(help="Append JSON lines here; a run that was cut off goes on.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    scoring_dtype: Annotated[
        str | None, typer.Option(help="float16 or bfloat16: score texts in half precision.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Recordings decoded together.")] = 16,
) -> None:
    """Caption recordings, or what else the preset takes. One line a recording: to stdout, or as JSON to --out.

    The exit status is 1 if any recording failed; the others are captioned all the same.
    """
    made_of = about(preset)
    changes = dict(_change(text, type(made_of.options)) for text in set)
    if keywords is not None:
        from .keywords import read_keywords

        changes["keywords"] = read_keywords(keywords)
    settings = {"preset": preset, "options": changes, "scoring_dtype": scoring_dtype}
    output = None if out is None else Output(out, settings)
    captioner = load(preset, device=device, scoring_dtype=scoring_dtype, batch_size=batch_size, **changes)
    failed = 0
    found = list(dict.fromkeys(find_sources(paths, made_of.takes)))
    for error in (item for item in found if isinstance(item, UnreadableSource)):
        failed += 1
        _complain(error)
    sources = [item for item in found if isinstance(item, str) and (output is None or item not in output.done)]
    with tqdm(total=len(sources), unit="clip", disable=None) as bar:  # None: no bar unless stderr is a terminal
        for made in captioner.stream(sources):
            bar.update()
            if made.error is not None:
                failed += 1
                tqdm.write(f"zscap: {made.error}", file=sys.stderr)
            if output is not None:
                output.write(made)
            elif made.error is None:
                tqdm.write(f"{made.source}\t{made.text}", file=sys.stdout)
    if failed:
        raise typer.Exit(1)


@app.command("presets")
def list_presets() -> None:
    """List the presets: what each takes, and what this machine lacks for it."""
    for name, row in table_of_presets().iterrows():
        typer.echo(f"{name}\t{'ready' if row.ready else 'not ready'}\t{row.takes}\t{row.description}\t{row.license}")
        if row.missing:
            typer.echo(f"\tmissing: {row.missing}")


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="A preset, or a data set: audibility, audioset.")]) -> None:
    """Download a data set, or what a preset needs from the model hub."""
    from . import data

    if name in data.DATASETS:
        typer.echo(data.fetch(name))
    else:
        missing = [weights.told for weights in downloads(name)]
        typer.echo("\n".join(missing) or f"{name}: nothing to download")
        fetch_weights(name)


class Output:
    """A file of JSON lines, one a source, that a later run of the same settings goes on with.

    Raises:
        UnwritableOutput: the file cannot be written, or holds captions made with other settings.
    """

    def __init__(self, path: Path, settings: dict):
        self.path = path
        self.settings = settings
        self.done: set[str] = set()
        if path.exists() and not path.stat().st_mode & 0o222:  # the superuser could write it all the same
            raise UnwritableOutput(f"{path}: is write-protected; choose another --out or make it writable")
        try:
            with path.open("a+b") as file:
                self._resume(file)
        except OSError as error:
            raise UnwritableOutput(f"{path}: cannot be written ({error.strerror}); choose another --out") from None

    def _resume(self, file) -> None:
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # the run was killed while it wrote this line
            file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                settings, source = {key: row[key] for key in self.settings}, row["source"]
            except (ValueError, KeyError, TypeError):
                raise UnwritableOutput(
                    f"{self.path}: line {number} is not a caption of zscap; choose another --out"
                ) from None
            if settings != self.settings:
                raise UnwritableOutput(
                    f"{self.path}: holds captions made with {json.dumps(settings)}; choose another --out for "
                    f"{json.dumps(self.settings)}"
                )
            if "error" not in row:
                self.done.add(source)

    def write(self, made: Caption) -> None:
        row = {"source": made.source}
        if made.error is not None:
            row["error"] = str(made.error)
        else:
            row |= {"text": made.text, "continuation": made.continuation, "tokens": made.tokens}
            for name in ("matching", "classifier", "log_likelihood"):
                value = getattr(made, name)
                row[name] = None if value is None else round(value, 6)
        with self.path.open("a") as file:
            file.write(json.dumps(row | self.settings) + "\n")


def _change(text: str, options: type[DecodingOptions]) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidOption(f"--set {text}: must be NAME=VALUE, e.g. --set beam_size=3")
    return name, options.parse(name, value)


def _complain(error: ZscapError) -> None:
    print(f"zscap: {error}", file=sys.stderr)


def main() -> None:
    """Entry point: an error made by the user is one line on stderr and exit status 1."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except ZscapError as error:
        _complain(error)
        sys.exit(1)
