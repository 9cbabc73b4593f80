"""The papers' tables: what data/papers.toml maps them to, and what `make papers` and `make figures` made of them."""

from pathlib import Path

import pandas as pd
from sphinx.application import Sphinx

from studies.papers import NAMES, papers, wide

FAMILIES = ("embedded", "small")


def paper_tables(app: Sphinx) -> str:
    """Markdown with the map, and a section for each table."""
    results, known = Path(app.srcdir) / "data" / "results" / "papers", papers()["tables"]
    lines = ["| table | paper | what it asks |", "|---|---|---|"]
    lines += [f"| [{name}](#{name}) | {entry['paper']} | {entry['what']} |" for name, entry in known.items()]
    for name, entry in known.items():
        made_by = f", by [](/notebooks/{entry['notebook']}.ipynb)" if "notebook" in entry else ""
        lines += ["", f"({name})=", f"## {name}", "", f"{entry['what'][0].upper()}{entry['what'][1:]}.", ""]
        lines += [f"Of {entry['paper']}{made_by}.", "", "```bash", f"zscap paper {name}", "```", ""]
        tables = {family: results / f"{name}-{family}.csv" for family in FAMILIES}
        tables = {family: pd.read_csv(file, dtype={"row": str}) for family, file in tables.items() if file.exists()}
        for family, table in tables.items():
            lines += [f"### {name}, {family}", "", *_made(name, family, table)]
        lines += _published(next(iter(tables.values())))
    return "\n".join(lines)


def _made(name: str, family: str, table: pd.DataFrame) -> list[str]:
    """What a family of presets has for a table: values, figure, and what is missing."""
    gaps, there = table[table["gap"].notna()], table[table["value"].notna()]
    if there.empty:
        return [f"Not made: {'; '.join(map(_reason, gaps['gap'].unique()))}.", ""]
    lines = [f"{table['n'].max():.0f} clips of {table['data'].iloc[0]}.", "", *_markdown(wide(table, digits=3))]
    if there["row"].nunique() > 1:  # else notebook 09 draws none
        lines += [f"![{name} by the presets {family}](/figures/papers/{name}-{family}.svg)", ""]
    for reason, missing in gaps.groupby("gap", sort=False):
        of = "row" if missing["measure"].nunique() == table["measure"].nunique() else "measure"
        lines += [f"- Without {', '.join(map(_name, missing[of].unique()))}: {_reason(reason)}.", ""]
    return lines


def _published(table: pd.DataFrame) -> list[str]:
    """The values that the paper itself has."""
    there = table[table["published"].notna()]
    if there.empty:
        return []
    texts = there.assign(text=there["published"].map("{:.3f}".format))
    texts = texts.pivot(index="row", columns="measure", values="text").fillna("")
    texts = texts.loc[there["row"].unique(), there["measure"].unique()]
    return ["What the paper has, with its networks on its recordings:", "", *_markdown(texts)]


def _markdown(texts: pd.DataFrame) -> list[str]:
    text = texts.rename(columns=_name).to_markdown(disable_numparse=True)
    return [":::{container} numbers", "", text, "", ":::", ""]


def _name(measure: str) -> str:
    return NAMES.get(measure, measure.replace("_", " "))


def _reason(gap: str) -> str:
    """The first sentence of a gap, without quotes, which may hold folders of the machine it arose on."""
    return gap.split(". ")[0].replace("'", "`")
