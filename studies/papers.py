"""The papers' tables: data/papers.toml says what each row is; here they are made, with published values beside."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zscap.errors import InvalidData, InvalidOption, MissingWeights, suggestion
from zscap.evaluation.datasets import PUBLISHED
from zscap.evaluation.runs import run
from zscap.folders import REPOSITORY

from .provenance import record
from .runner import run_notebook
from .tables import with_interval

if TYPE_CHECKING:
    import pandas as pd

PAPERS = REPOSITORY / "data" / "papers.toml"
NAMES = {"bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4", "meteor": "METEOR"}
NAMES |= {"rouge_l": "ROUGE-L", "cider_d": "CIDEr-D", "spice": "SPICE", "spider": "SPIDEr"}


def papers() -> dict:
    """What data/papers.toml holds: `tables` by name, and `ways`, the presets of each family.

    Raises:
        InvalidData: it is not there, as where zscap is installed without its clone.
    """
    try:
        return tomllib.loads(PAPERS.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidData(f"{PAPERS}: can't be read ({error}); the papers' tables need a clone of zscap") from None


def paper(
    table: str,
    out: str | Path,
    *,
    presets: str = "papers",
    data: str | Path | None = None,
    clips: int | None = None,
    folder: str | Path | None = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """Make a table of a paper; a row that was made before is not made again.

    Args:
        table: a name of data/papers.toml.
        out: folder for table.csv, its record table.json and a run for each row.
        presets: which presets stand for the ways of decoding: `papers` takes the authors' networks.
        data: a data set in the place of the paper's, as of `run`.
        clips: take the first so many.
        folder, device: as of `run`.

    Returns:
        DataFrame, a row for each row and measure: `row`, `measure`, `preset`, `data`, `n`, `value`, `low`, `high`,
        `gap` (why there is no value), `published` (the paper's value, if it has one), `same_data` (whether it is of
        this data set, whole) and `agrees` (whether the two differ by at most the tolerance; only on the same data).

    Raises:
        InvalidOption: an unknown table or family.
        InvalidData: as `run` does.
        NotebookFailed: a notebook that makes the table ran into an error.
    """
    import pandas as pd

    known = papers()
    for name, names in ((table, known["tables"]), (presets, known["ways"])):
        if name not in names:
            raise InvalidOption(
                f"unknown {'table' if name == table else 'presets'} {name!r}: {suggestion(name, names)}"
            )
    entry, ways, out = known["tables"][table], known["ways"][presets], Path(out)
    out.mkdir(parents=True, exist_ok=True)
    asked = {"presets": presets, "data": data and str(data), "clips": clips, "device": device}
    if "notebook" in entry:
        made_by = known["notebooks"][entry["notebook"]]
        given = {"results_folder": str(out.resolve())} | made_by["parameters"] | made_by[presets]
        return _kept(_from_notebook(entry, given | ({"clips": clips} if clips else {}), out, data), out, table, asked)
    data = data or entry["data"]
    rows = []
    for number, row in enumerate(entry["rows"], 1):
        preset, reason, measures = ways.get(row["way"]), None, {}
        if preset is None:
            reason = f"the family {presets} has no preset for {row['way']}"
        else:
            try:
                machine = {"folder": folder, "device": device, "clips": clips}
                summary = run(preset, data, out / f"row {number}", **machine, **row.get("set", {}))
                measures = summary["measures"]
            except (InvalidOption, MissingWeights) as error:
                reason = str(error)
        for measure in entry["metrics"]:
            found = {"gap": reason} if reason else measures[measure]
            line = {"row": row["name"], "measure": measure, "preset": preset, "data": str(data)}
            line |= {name: found.get(name) for name in ("n", "value", "low", "high", "gap")}
            rows.append(line | _published(entry, row, measure, str(data), clips, found.get("value")))
    return _kept(pd.DataFrame(rows), out, table, asked)


def wide(table: pd.DataFrame, measures: Sequence[str] | None = None, digits: int = 2) -> pd.DataFrame:
    """A table of `paper` as one reads it: values with their intervals as text, "" where there is none.

    Args:
        table: as `paper` returns it, or as its table.csv holds it.
        measures: which, in which order; None takes all that have a value.

    Returns:
        DataFrame, a row for each row that has a value and a column for each measure.

    Examples:
        >>> import pandas as pd
        >>> table = pd.read_csv("data/results/papers/audibility-embedded.csv")
        >>> wide(table, ["hit"]).loc["matcher", "hit"]
        '0.90 (0.77 to 0.96)'
    """
    there = table[table["value"].notna()].astype({"low": float, "high": float})
    texts = [with_interval(*ends, digits) for ends in zip(there["value"], there["low"], there["high"], strict=True)]
    texts = there.assign(text=texts).pivot(index="row", columns="measure", values="text").fillna("")
    measures = measures or [name for name in table["measure"].unique() if name in texts]
    return texts.loc[there["row"].unique(), list(measures)]


def _from_notebook(entry: dict, given: dict, out: Path, data: str | Path | None) -> pd.DataFrame:
    """A table whose rows need networks trained anew, which a notebook does on the project's own recordings."""
    import pandas as pd

    if data not in (None, "soundscapes"):
        raise InvalidOption(f"data {str(data)!r}: notebook {entry['notebook']} takes the project's own, soundscapes")
    run_notebook(entry["notebook"], given, out / f"{entry['notebook']}.ipynb")
    measured = pd.read_csv(out / entry["file"])
    by, rows = entry["rows_by"], []
    measures = [name for name in measured if name not in (*by, "clips") and not name.endswith(("_low", "_high"))]
    for line in measured.to_dict("records"):
        for measure in measures:
            row = {"row": " ".join(str(line[name]) for name in by), "measure": measure, "preset": given["preset"]}
            clips = None if measure.startswith("auc") or measure == "classifiers" else line["clips"]
            row |= {"data": "soundscapes", "n": clips, "value": line[measure]}
            low, high = line.get(f"{measure}_low"), line.get(f"{measure}_high")
            row |= {"low": low, "high": high} if low != high else {"low": None, "high": None}
            gap = "not measured" if line[measure] != line[measure] else None
            rows.append(row | {"gap": gap, "published": None, "same_data": None, "agrees": None})
    return pd.DataFrame(rows)


def _kept(made: pd.DataFrame, out: Path, table: str, asked: dict) -> pd.DataFrame:
    """A table, written with its record."""
    made["gap"] = made["gap"].map(lambda gap: gap.replace(str(Path.home()), "~"), na_action="ignore")
    made.to_csv(out / "table.csv", index=False, float_format="%.4g")
    given = " ".join(f"--{name} {value}" for name, value in asked.items() if value and value != "cpu")
    record(out / "table.csv", f"zscap paper {table} {given}", {"table": table} | asked)
    return made


def _published(entry: dict, row: dict, measure: str, data: str, clips: int | None, value: float | None) -> dict:
    """What the paper has for a measure of a row."""
    import pandas as pd

    none = {"published": None, "same_data": None, "agrees": None}
    if "published" not in row or measure not in NAMES:
        return none
    table = pd.read_csv(PUBLISHED)
    named = table["metric"].replace("CIDEr", "CIDEr-D") == NAMES[measure]
    of_set = table["dataset"].str.lower().str.startswith(entry["data"])
    found = table[(table["system"] == row["published"]) & named & of_set]
    if found.empty:
        return none
    published = found["value_x100"].iloc[0] / 100
    same = data == entry["data"] and clips is None
    agrees = abs(value - published) <= entry["tolerance"] if same and value is not None else None
    return {"published": published, "same_data": same, "agrees": agrees}
