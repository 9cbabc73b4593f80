"""What `zscap paper` and `zscap run` do, which need a clone of the repository."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from zscap.errors import InvalidOption

from . import runner
from .shards import merge as merge

log = logging.getLogger("zscap")


def make_table(table: str | None, out: Path | None, presets: str, **settings) -> None:
    """Print a table of `studies.papers.paper`, or without one the names of all.

    Args:
        table: a name of data/papers.toml.
        out: folder for table.csv and the runs; None is one in runs/papers.
        presets, settings: as of `paper`.
    """
    from .papers import paper, papers  # late: statistics take seconds

    if table is None:
        for name, entry in papers()["tables"].items():
            print(f"{name:<20} {entry['paper']}: {entry['what']}")
        return
    out = out or Path("runs", "papers", f"{table} {presets}")
    rows = paper(table, out, presets=presets, **settings)
    rows = rows.astype(object).where(rows.notna(), None)
    for name, group in rows.groupby("row", sort=False):
        print(f"{name} ({group['preset'].iloc[0] or 'no preset'}, {group['data'].iloc[0]})")
        for row in group.to_dict("records"):
            text = f"-      {row['gap']}" if row["gap"] else f"{row['value']:<7.3f}n={row['n']:.0f}"
            if row["published"] is not None:
                text += f"  published {row['published']:.3f}" + ("" if row["same_data"] else ", of other data")
            print(f"  {row['measure']:<20}{text}")
    log.info("%s: %s", table, out / "table.csv")


def run(notebook: str | None, names: Sequence[str], values: Sequence[str], file: Path | None, out: Path | None) -> None:
    """Execute a notebook, or without one print the names of all.

    Args:
        notebook: number, name or path.
        names: of parameters, whose `values` follow in order, but for those written NAME=VALUE.
        file: parameters in YAML.
        out: the executed notebook; None is one in runs/.

    Raises:
        InvalidOption: a parameter without a value, a value without a parameter, or a file that is no YAML.
    """
    if notebook is None:
        print("\n".join(path.stem for path in sorted(runner.FOLDER.glob("*.ipynb"))))
        return
    known = runner.parameters(runner.find(notebook))
    given, rest = from_file(file) if file else {}, list(values)
    for text in names:
        name, equals, value = text.partition("=")
        if not equals and not rest:
            raise InvalidOption(f"-p {text}: must be followed by a value, e.g. -p {text} 1")
        value = value if equals else rest.pop(0)
        given[name] = known[name].parse(value) if name in known else value
    if rest:
        raise InvalidOption(f"{' '.join(rest)}: what is that? A parameter is written -p NAME VALUE")
    log.info("executed: %s", runner.run_notebook(notebook, given, out, progress=True))


def explain(notebook: str) -> None:
    """Print a notebook's parameters."""
    for each in runner.parameters(runner.find(notebook)).values():
        print(f"{each.name} = {each.default!r}" + (f"  # {each.comment}" if each.comment else ""))


def from_file(file: Path) -> dict:
    """Parameters of a YAML file.

    Raises:
        InvalidOption: it is none.
    """
    import yaml

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidOption(f"-f {file}: can't be read as YAML ({error})") from None
    if not isinstance(given, dict):
        raise InvalidOption(f"-f {file}: must hold lines `name: value`")
    return given
