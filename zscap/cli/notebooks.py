"""Notebooks run headless."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidOption
from .common import app, complain


@app.command("run")
def run_one(
    notebook: Annotated[str | None, typer.Argument(help="Number, name or path; without one, all are listed.")] = None,
    values: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="A parameter, also as NAME=VALUE; may be repeated."),
    ] = None,
    file: Annotated[Path | None, typer.Option("-f", help="Parameters in a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The executed notebook; in the clone's runs/ by default.")] = None,
    explain: Annotated[bool, typer.Option("--parameters", help="List its parameters, and run nothing.")] = False,
) -> None:
    """Execute a notebook, after its parameters were checked."""
    from studies.runner import FOLDER, find, parameters, run_notebook

    if notebook is None:
        for path in sorted(FOLDER.glob("*.ipynb")):
            typer.echo(path.stem)
        return
    known = parameters(find(notebook))
    if explain:
        for each in known.values():
            typer.echo(f"{each.name} = {each.default!r}" + (f"  # {each.comment}" if each.comment else ""))
        return
    given = _from_file(file) if file else {}
    rest = list(values or [])
    for text in parameter or []:
        name, equals, value = text.partition("=")
        if not equals and not rest:
            raise InvalidOption(f"-p {text}: must be followed by a value, e.g. -p {text} 1")
        value = value if equals else rest.pop(0)
        given[name] = known[name].parse(value) if name in known else value
    if rest:
        raise InvalidOption(f"{' '.join(rest)}: what is that? A parameter is written -p NAME VALUE")
    complain(f"executed: {run_notebook(notebook, given, out, progress=True)}")


def _from_file(file: Path) -> dict:
    import yaml

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidOption(f"-f {file}: can't be read as YAML ({error})") from None
    if not isinstance(given, dict):
        raise InvalidOption(f"-f {file}: must hold lines `name: value`")
    return given
