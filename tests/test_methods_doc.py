"""docs/METHODS.md says of every option what the code says, and its equations are what GitHub can show."""

import ast
import dataclasses
import re
import tomllib
from pathlib import Path

import zscap

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "METHODS.md").read_text(encoding="utf-8")
PRESETS = tomllib.loads(next((ROOT / "zscap").glob("*/presets.toml")).read_text(encoding="utf-8"))
CLASSES = {cls.__name__: cls for cls in (zscap.SteeringOptions, zscap.ProximalOptions, zscap.MagicOptions)}


def tables() -> list[list[list[str]]]:
    """Rows of cells of each table, the header first; a cell's bar is written with a backslash before it."""
    blocks = re.findall(r"^\|.*(?:\n\|.*)+", TEXT, flags=re.MULTILINE)
    rows = [[line for line in block.splitlines() if not set(line) <= set("|-: ")] for block in blocks]
    cells = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table] for table in rows]
    return [[[cell.strip().replace(r"\|", "|") for cell in row] for row in table] for table in cells]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def stated() -> list[tuple[str, str, str, object]]:
    """Class, option, column and value of each option in the tables of options."""
    found = []
    for header, *rows in tables():
        if not header[0].startswith("option of"):
            continue
        (options,) = codes(header[0])
        for row in rows:
            for column, cell in zip(header, row, strict=True):
                if column == "default" or (codes(column) and column != header[0]):
                    values = [ast.literal_eval(code) for code in codes(cell)]
                    found += [
                        (options, name, column.strip("`"), value)
                        for name, value in zip(codes(row[0]), values, strict=True)
                    ]
    return found


def test_options_and_defaults_are_the_codes():
    wrong = [
        (options, name, value)
        for options, name, column, value in stated()
        if column == "default" and getattr(CLASSES[options](), name, "no such option") != value
    ]
    assert not wrong


def test_every_option_is_in_a_table():
    known = {field.name for cls in CLASSES.values() for field in dataclasses.fields(cls)}
    assert known == {name for _, name, column, _ in stated() if column == "default"}


def test_what_differs_between_classes_is_said_of_each():
    said = {(options, name) for options, name, column, _ in stated() if column == "default"}
    steering = zscap.SteeringOptions()
    for name, cls in CLASSES.items():
        differing = {
            field.name for field in dataclasses.fields(cls) if getattr(steering, field.name, None) != field.default
        }
        assert differing <= {option for options, option in said if options == name}


def test_settings_of_presets_are_the_presets():
    columns = [(name, column, value) for _, name, column, value in stated() if column != "default"]
    assert {column for _, column, _ in columns} == {"classifier-guided", "embedded-proximal"}
    assert not [(name, value) for name, column, value in columns if PRESETS[column]["options"].get(name) != value]


def test_numbers_in_the_text_are_the_codes():
    from zscap.guidance.target import NEGLIGIBLE
    from zscap.matchers.trees import NODES
    from zscap.scoring import REMEMBERED

    assert NEGLIGIBLE == 1e-12 and r"\varepsilon=10^{-12}" in TEXT
    assert f"at most {NODES} nodes" in TEXT and f"{REMEMBERED:,} distinct texts" in TEXT


def test_equations_are_what_github_shows():
    for line in TEXT.splitlines():
        assert line.count("$") % 2 == 0, line  # no equation goes over a line's end
    equations = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", re.sub(r"`[^`]*`", "", TEXT))
    assert len(equations) > 50
    for equation in ("".join(pair) for pair in equations):
        assert equation.count("{") == equation.count("}"), equation
        assert equation.count(r"\left") - equation.count(r"\leftarrow") == equation.count(r"\right"), equation
        # Markdown drops a backslash before a sign and takes an underscore behind one for emphasis.
        assert not re.search(r"\\[^A-Za-z ]|[^\w]_|\\operatorname", equation), equation
    assert "$`" not in TEXT and "`$" not in TEXT
