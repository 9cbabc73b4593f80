"""docs/METHODS.md says of every option what the code says, and its equations are what GitHub can show."""

import ast
import csv
import dataclasses
import re
import tomllib
from pathlib import Path

import zscap
from studies.prompts import WAYS
from zscap.guidance.target import NEGLIGIBLE
from zscap.matchers.small import CONFIDENCE
from zscap.scoring import REMEMBERED

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "METHODS.md").read_text(encoding="utf-8")
PRESETS = tomllib.loads(next((ROOT / "zscap").glob("*/presets.toml")).read_text(encoding="utf-8"))
CLASSES = {cls.__name__: cls for cls in (zscap.SteeringOptions, zscap.ProximalOptions, zscap.MagicOptions)}


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def stated() -> list[tuple[str, str, str, object]]:
    """Class, option, column and value of each option in the tables of options.

    A table's header begins with "option of" and the class; the other columns are "default" or the name of a preset. A
    cell's bar is written with a backslash before it.
    """
    found = []
    for block in re.findall(r"^\| *option of.*(?:\n\|.*)+", TEXT, flags=re.MULTILINE):
        lines = [line for line in block.splitlines() if not set(line) <= set("|-: ")]
        header, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
        for row in rows:
            for column, cell in zip(header[1:], row[1:], strict=True):
                if column == "default" or codes(column):
                    values = [ast.literal_eval(code.replace(r"\|", "|")) for code in codes(cell)]
                    names = zip(codes(row[0]), values, strict=True)
                    found += [(codes(header[0])[0], name, column.strip("`"), value) for name, value in names]
    return found


DEFAULTS = {(options, name): value for options, name, column, value in stated() if column == "default"}


def test_options_and_defaults_are_the_codes():
    for (options, name), value in DEFAULTS.items():
        assert getattr(CLASSES[options](), name, "no such option") == value, (options, name)
    fields = {(cls, field.name): field for cls in CLASSES for field in dataclasses.fields(CLASSES[cls])}
    assert {name for _, name in fields} == {name for _, name in DEFAULTS}
    steering = zscap.SteeringOptions()
    for (cls, name), field in fields.items():  # what differs between classes is said of each
        assert getattr(steering, name, None) == field.default or (cls, name) in DEFAULTS, (cls, name)


def test_settings_of_presets_and_numbers_in_the_text_are_the_codes():
    columns = [(name, column, value) for _, name, column, value in stated() if column != "default"]
    assert {column for _, column, _ in columns} == {"classifier-guided", "embedded-proximal"}
    assert NEGLIGIBLE == 1e-12 and r"\varepsilon=10^{-12}" in TEXT and f"{REMEMBERED:,} distinct texts" in TEXT
    assert not [(name, value) for name, column, value in columns if PRESETS[column]["options"].get(name) != value]


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


def test_what_guidance_brings_is_what_was_measured():
    measures = ("audiocaps_meteor", "audiocaps_cider_d", "audiocaps_minilm", "clotho_minilm")
    rows = list(csv.DictReader((ROOT / "data" / "results" / "small_prompts.csv").open()))
    for row in rows:
        cells = [
            row["language_model"],
            row["prompt"],
            row["guidance"],
            *(f"{float(row[name]):.3f}" for name in measures),
        ]
        assert f"| {' | '.join(cells)} | {float(row['seconds']):.1f} |" in TEXT
    assert {(row["language_model"], row["prompt"], row["guidance"]) for row in rows} > set(WAYS)


def test_events_and_confidence_are_what_was_measured():
    section = TEXT[TEXT.index("## 6.") : TEXT.index("## 7.")]
    assert f"$b={CONFIDENCE[1]}$ for AudioSet's names and ${CONFIDENCE[2]}$" in section
    found = {row["way"]: row["f1"] for row in csv.DictReader((ROOT / "data" / "results" / "small_events.csv").open())}
    assert f"{float(found['events']):.3f}, of a plain threshold of 0.2" in section
    assert f"outputs {float(found['threshold 0.2']):.3f} " in section
    for row in csv.DictReader((ROOT / "data" / "results" / "metric_agreement.csv").open()):
        told = row["category"] == "total" and "sounds" in row["metric"]
        assert not told or f"{float(row['agreement']):.3f}" in section
    for row in csv.DictReader((ROOT / "data" / "results" / "small_confidence.csv").open()):
        assert f"{row['clips']} recordings" in section
        assert all(f"{float(row[name]):.3f}" in section for name in ("right", "confidence", "auc"))
    for row in csv.DictReader((ROOT / "data" / "results" / "small_mixtures.csv").open()):
        cells = [f"{float(row[name]):.2f}" for name in ("all_named", "one_named", "invented")]
        assert f"| {' | '.join([row['way'], row['n'], *cells])} |" in section
    for row in csv.DictReader((ROOT / "data" / "results" / "unexplained.csv").open()):
        *names, all_named, one_named, invented = row.values()
        cells = [f"{float(share):.2f}" for share in (all_named, one_named, invented)]
        assert f"| {' | '.join([*names, *cells])} |" in section
