"""Notebooks run headless, with parameters that are checked before the first cell runs."""

from __future__ import annotations

import ast
import re
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zscap.errors import InvalidOption, ZscapError, one_line, suggestion
from zscap.folders import REPOSITORY

from .provenance import record

FOLDER = REPOSITORY / "notebooks"
QUIET = ["--log-level=CRITICAL"]  # a kernel warns of its own socket, which nobody else can reach


class NotebookFailed(ZscapError):
    """A notebook that ran into an error."""


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
        if kind is float and isinstance(value, str):  # YAML takes 1e-4 for a text
            with suppress(ValueError):
                value = float(value)
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            example = f", e.g. '[{value}]'" if kind is list and not isinstance(value, dict) else ""
            raise InvalidOption(f"{self.name}={value!r}: must be of type {kind.__name__}{example}")
        if isinstance(value, list):
            element = Parameter(self.name, self.default[0] if self.default else "", self.comment)
            return [element.check(each) for each in value]
        if isinstance(value, dict) and self.comment.startswith("only these"):
            for name in value.keys() - self.default.keys():
                raise InvalidOption(f"{self.name}: unknown name {name!r}: {suggestion(str(name), self.default)}")
            return {name: Parameter(f"{self.name}.{name}", self.default[name], "").check(value[name]) for name in value}
        return self._held(value)

    def _held(self, value):
        rule = re.split("[:;]", self.comment)[0]
        wrong = f"{self.name}={value!r}: must be {rule}"
        if rule.startswith("one of "):
            names = rule.removeprefix("one of ").replace(" or empty", ", ").split(", ")
            if str(value) not in names:
                raise InvalidOption(f"{wrong}; {suggestion(str(value), names)}")
        elif bounds := re.fullmatch(r"([\d.]+) (?:to ([\d.]+)|or more)", rule):
            if not float(bounds[1]) <= value <= float(bounds[2] or "inf"):
                raise InvalidOption(wrong)
        elif rule.startswith("above "):
            if not value > float(rule.removeprefix("above ")):
                raise InvalidOption(wrong)
        elif rule.startswith("a name in "):
            names = sorted(path.stem for path in (REPOSITORY / rule.removeprefix("a name in ")).iterdir())
            if value.removesuffix(".flac") not in names:
                raise InvalidOption(f"{wrong}: {suggestion(value, names)}")
        elif kind := re.match(r"a (file|folder)\b", rule):
            if value == self.default:
                return value
            there = next((path for path in (Path(value), REPOSITORY / value) if path.exists()), None)
            if there is None or there.is_dir() != (kind[1] == "folder"):
                raise InvalidOption(
                    f"{self.name}={value!r}: must be a {kind[1]} that is there; paths begin here or in the repository"
                )
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
    import papermill

    try:
        found = papermill.inspect_notebook(notebook)
        return {name: Parameter(name, ast.literal_eval(each["default"]), each["help"]) for name, each in found.items()}
    except Exception as error:  # nbformat and json have many
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
