"""Notebooks run headless, with parameters that are checked before the first cell runs."""

from __future__ import annotations

import ast
import json
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zscap.errors import InvalidOption, NotebookFailed, one_line, suggestion
from zscap.folders import REPOSITORY

from .provenance import record

FOLDER = REPOSITORY / "notebooks"
QUIET = ["--log-level=CRITICAL"]  # a kernel warns of its own socket, which nobody else can reach


@dataclass(frozen=True)
class Parameter:
    """A line of a notebook's parameters cell: `name = default  # rule: what it is`.

    The comment's beginning is a rule that values are held to, if it has one of these forms: `one of a, b`, `one of a, b
    or empty`, `1 to 9`, `1 or more`, `above 0`, `a file`, `a folder`, `a name in FOLDER`. Of a list, each element is.
    Files and folders must be there, but for the default. `only these` at a dict: it may have the default's names, with
    values of their types.
    """

    name: str
    default: object
    comment: str

    def parse(self, text: str) -> object:
        """The value written as text, as on the command line: a text as it is, anything else as YAML.

        Raises:
            InvalidOption: it is no YAML.
        """
        if isinstance(self.default, str):
            return text
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidOption(f"{self.name}={text!r}: can't be read as YAML ({one_line(str(error))})") from None

    def check(self, value: object) -> object:
        """The value, paths of files and folders made absolute.

        Raises:
            InvalidOption: it is of another type than the default, or breaks the rule.
        """
        kind = type(self.default)
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            example = f", e.g. '[{value}]'" if kind is list and not isinstance(value, dict) else ""
            raise InvalidOption(f"{self.name}={value!r}: must be of type {kind.__name__}{example}")
        if isinstance(value, dict) and self.comment.startswith("only these"):
            for name in value.keys() - self.default.keys():
                raise InvalidOption(f"{self.name}: unknown name {name!r}: {suggestion(str(name), self.default)}")
            return {name: Parameter(f"{self.name}.{name}", self.default[name], "").check(value[name]) for name in value}
        if not isinstance(value, list):
            return self._held(value)
        inner = type(self.default[0]) if self.default else str
        for each in value:
            if not isinstance(each, (int, float) if inner is float else inner):
                raise InvalidOption(f"{self.name}={value!r}: {each!r} must be of type {inner.__name__}")
        return [self._held(each) for each in value]

    def _held(self, value):
        wrong = f"{self.name}={value!r}: must be"
        if found := re.match(r"one of ([^:;]+?)( or empty)?(?=[:;]|$)", self.comment):
            names = found[1].split(", ") + ([""] if found[2] else [])
            if str(value) not in names:
                raise InvalidOption(f"{wrong} one of {', '.join(names)}; {suggestion(str(value), names)}")
        elif found := re.match(r"([\d.]+) to ([\d.]+)", self.comment):
            if not float(found[1]) <= value <= float(found[2]):
                raise InvalidOption(f"{wrong} {found[0]}")
        elif found := re.match(r"([\d.]+) or more", self.comment):
            if value < float(found[1]):
                raise InvalidOption(f"{wrong} {found[0]}")
        elif found := re.match(r"above ([\d.]+)", self.comment):
            if value <= float(found[1]):
                raise InvalidOption(f"{wrong} {found[0]}")
        elif found := re.match(r"a name in ([^\s;:,]+)", self.comment):
            names = sorted(path.stem for path in (REPOSITORY / found[1]).iterdir())
            if value.removesuffix(".flac") not in names:
                raise InvalidOption(f"{wrong} {found[0]}: {suggestion(value, names)}")
        elif found := re.match(r"a (file|folder)\b", self.comment):
            if value == self.default:
                return value
            there = next((path for path in (Path(value), REPOSITORY / value) if path.exists()), None)
            if there is None or there.is_dir() != (found[1] == "folder"):
                raise InvalidOption(f"{wrong} a {found[1]} that is there; paths begin here or in the repository")
            return str(there.resolve())
        return value


def find(name: str | Path) -> Path:
    """The notebook of a name: its number, its number and name, or a path.

    Raises:
        InvalidOption: there is none, or more than one.
    """
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    stem = path.name.removesuffix(".ipynb")
    known = sorted(FOLDER.glob("*.ipynb"))
    found = [each for each in known if each.stem == stem or each.stem.partition("_")[0] == stem]
    if len(found) != 1:
        raise InvalidOption(f"unknown notebook {str(name)!r}: {suggestion(stem, [each.stem for each in known])}")
    return found[0]


def parameters(notebook: Path) -> dict[str, Parameter]:
    """What a notebook's parameters cell sets, by name.

    Raises:
        InvalidOption: the file is no notebook, or its parameters are no literals.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        source = "".join("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
        lines = source.splitlines()
        known = {}
        for node in ast.parse(source).body:
            name, default = node.targets[0].id, ast.literal_eval(node.value)
            comment = (
                lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode().strip().removeprefix("#").strip()
            )
            known[name] = Parameter(name, default, comment)
        return known
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        raise InvalidOption(f"{notebook}: its parameters can't be read ({one_line(str(error))})") from None


def checked(notebook: Path, given: Mapping[str, object]) -> dict[str, object]:
    """Parameters for a notebook, each of them held to its type and rule.

    Raises:
        InvalidOption: an unknown name, or a value that a parameter can't have.
    """
    known = parameters(notebook)
    try:
        for name in given.keys() - known.keys():
            raise InvalidOption(f"unknown parameter {name!r}: {suggestion(name, known)}")
        return {name: known[name].check(value) for name, value in given.items()}
    except InvalidOption as error:
        raise InvalidOption(f"{notebook.stem}: {error}") from None


def run_notebook(
    name: str | Path,
    given: Mapping[str, object] | None = None,
    out: str | Path | None = None,
    *,
    progress: bool = False,
) -> Path:
    """Execute a notebook with parameters.

    Beside each table that it writes for its parameters `results_folder` or `results`, its record is put
    (`studies.provenance`).

    Args:
        name: as of `find`.
        given: parameters that differ from the defaults, by name.
        out: the executed notebook; None puts it into the clone's runs/. Its folder is made.
        progress: show a progress bar.

    Returns:
        The executed notebook.

    Raises:
        InvalidOption: as `find` and `checked` do.
        NotebookFailed: a cell raised an error; the notebook up to there is kept.
    """
    notebook = find(name)
    values = checked(notebook, given or {})
    import papermill

    out = Path(out) if out else REPOSITORY / "runs" / notebook.name
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    try:
        papermill.execute_notebook(notebook, out, values, progress_bar=progress, extra_arguments=QUIET)
    except papermill.PapermillExecutionError as error:
        raise NotebookFailed(f"{out}: cell {error.exec_count}: {error.ename}: {one_line(str(error.evalue))}") from None
    _record_results(notebook, values, begun)
    return out


def _record_results(notebook: Path, given: Mapping[str, object], begun: float) -> None:
    used = {name: each.default for name, each in parameters(notebook).items()} | given
    places = [REPOSITORY / used[name] for name in ("results_folder", "results") if used.get(name)]
    tables = [table for place in places for table in ([place] if place.is_file() else place.glob("*.csv"))]
    typed = (f"-p {name} {shlex.quote(str(value))}" for name, value in given.items())
    command = " ".join(["zscap run", notebook.stem.partition("_")[0], *typed])
    paths = [REPOSITORY / value for value in used.values() if isinstance(value, str) and value]
    for table in tables:
        if table.stat().st_mtime >= begun:
            record(table, command, used, [path for path in paths if path.exists()])
