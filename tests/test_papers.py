"""The papers' tables: each mapped one runs at smoke size, and says whose numbers are whose."""

import shutil
import sys

import pandas as pd
import pytest
from solved import solved

from studies.papers import PUBLISHED, paper, papers
from studies.runner import checked, find, run_notebook
from zscap import cli
from zscap.errors import InvalidOption
from zscap.evaluation import metrics as reference_metrics
from zscap.evaluation import reference_free as measures
from zscap.evaluation import run
from zscap.evaluation.metrics import METRICS
from zscap.evaluation.reference_free import NEEDS_NO_REFERENCES
from zscap.folders import REPOSITORY
from zscap.preset.load import about, presets

KNOWN = papers()
RESULTS = REPOSITORY / "data" / "results" / "papers"
DECODED = sorted(name for name, entry in KNOWN["tables"].items() if "rows" in entry)
ONE_CLIP = {"data": "soundscapes", "clips": 1}


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path / "no data"))
    monkeypatch.setattr(reference_metrics.shutil, "which", lambda name: None)  # METEOR's program takes seconds to start
    monkeypatch.setattr(measures, "_second", lambda preset: measures.Gap("not asked for in this test"))
    measures._judge.cache_clear()


def test_the_map_names_what_there_is():
    assert {name for ways in KNOWN["ways"].values() for name in ways.values()} <= set(presets().index)
    systems = set(pd.read_csv(PUBLISHED)["system"])
    for name, notebook in KNOWN["notebooks"].items():
        assert notebook.keys() == {"parameters", *KNOWN["ways"]}
        for family in KNOWN["ways"]:
            assert checked(find(name), notebook["parameters"] | notebook[family])
    for entry in (KNOWN["tables"][name] for name in DECODED):
        assert set(entry["metrics"]) <= {*METRICS, *NEEDS_NO_REFERENCES}
        assert {row["published"] for row in entry["rows"] if "published" in row} <= systems
        names = [row["name"] for row in entry["rows"]]
        assert len(set(names)) == len(names)
        for row in entry["rows"]:
            of_families = [ways[row["way"]] for ways in KNOWN["ways"].values() if row["way"] in ways]
            assert of_families
            for preset in of_families:
                about(preset).options.override(**row.get("set", {}))


@pytest.mark.parametrize(("table", "family"), [*((table, "embedded") for table in DECODED), ("combine", "small")])
def test_each_table_is_made_at_smoke_size(table, family, tmp_path, monkeypatch, quick):
    few = {"max_new_tokens": 2, "num_candidates": 4}
    monkeypatch.setattr("studies.papers.run", lambda *given, **changes: run(*given, **changes | few))
    made = paper(table, tmp_path, presets=family, **ONE_CLIP)
    entry, ways = KNOWN["tables"][table], KNOWN["ways"][family]
    assert list(dict.fromkeys(made["row"])) == [row["name"] for row in entry["rows"]]
    assert list(made["measure"]) == entry["metrics"] * len(entry["rows"])
    written = pd.read_csv(tmp_path / "table.csv")
    assert len(written) == len(made) and (written["data"] == "soundscapes").all()
    assert (written["value"].notna() ^ written["gap"].notna()).all()
    for row in entry["rows"]:
        of = made[made["row"] == row["name"]]
        if row["way"] in ways:
            assert (of["preset"] == ways[row["way"]]).all()
        else:
            assert of["gap"].str.contains(f"no preset for {row['way']}").all()
    assert made["same_data"].dropna().eq(False).all() and made["agrees"].isna().all()


def test_tables_of_networks_trained_anew_are_made_at_smoke_size(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path / "no data"))
    few = {"sentences": "own", "seeds": [0], "folds": 2, "shares": [1.0], "wrong": [0.4], "steps": 20, "pair_steps": 2}
    few |= {"changes": {"max_new_tokens": 2}}
    bounds = ["len(quality) == 2 * (1 + len(lessons))", "set(overlap['named']) <= {0, 1, 2}"]
    ran = []

    def once(name, given, out):
        if not ran:
            ran.append(run_notebook(solved(name, bounds, tmp_path), given | few, out))
            return
        for file in tmp_path.glob("first/*.csv"):
            shutil.copy(file, given["results_folder"])

    monkeypatch.setattr("studies.papers.run_notebook", once)
    made = paper("classifier-quality", tmp_path / "first", presets="embedded", clips=2)
    rows = ["no classifier 0.0", "share of the sentences 1.0", "wrong labels 0.4", "first words balanced 1.0"]
    assert list(dict.fromkeys(made["row"])) == rows
    assert set(made["measure"]) == {"hit", "audible", "auc_own", "classifiers"}
    assert (made["preset"] == "embedded-proximal").all() and (made["n"].dropna() == 2).all()
    assert (made["value"].notna() ^ made["gap"].notna()).all()
    for table, rows in (("overlapping-sounds", 4), ("supervised", 2)):
        assert paper(table, tmp_path / table, presets="embedded")["row"].nunique() == rows
    with pytest.raises(InvalidOption, match="takes the project's own"):
        paper("supervised", tmp_path, presets="small", data="esc50")


@pytest.mark.parametrize("family", ["embedded", "small"])
def test_each_table_has_a_stored_result(family):
    """What `make papers` wrote: the rows and measures that the map asks for, marked as what they are."""
    for table, entry in KNOWN["tables"].items():
        stored = pd.read_csv(RESULTS / f"{table}-{family}.csv", dtype={"row": str})
        if "rows" in entry:
            assert list(dict.fromkeys(stored["row"])) == [row["name"] for row in entry["rows"]]
            assert list(stored["measure"]) == entry["metrics"] * len(entry["rows"])
        assert (stored["data"] == "soundscapes").all()
        assert (stored["value"].notna() ^ stored["gap"].notna()).all()
        assert not stored["same_data"].eq(True).any() and stored["agrees"].isna().all()
        assert not (stored["low"] == stored["high"]).any()


def test_published_values_stand_beside_and_are_compared_on_the_same_data_only(tmp_path, monkeypatch):
    found = {"value": 0.281, "low": 0.2, "high": 0.3, "n": 975}
    measured = dict.fromkeys(KNOWN["tables"]["zeraucap"]["metrics"], found)
    monkeypatch.setattr("studies.papers.run", lambda *given, **changes: {"measures": measured})
    best = paper("zeraucap", tmp_path).set_index(["row", "measure"]).loc["keywords and MAGIC"]
    assert best.loc["cider_d", "published"] == pytest.approx(0.281, abs=0.02) and best.loc["cider_d", "same_data"]
    assert best.loc["cider_d", "agrees"] == (abs(best.loc["cider_d", "published"] - 0.281) <= 0.01)
    assert not best.loc["bleu_1", "agrees"] and pd.isna(best.loc["hit", "published"])


def test_the_command_line_lists_tables_and_makes_one(tmp_path, capsys, monkeypatch, quick):
    def said(*command):
        monkeypatch.setattr(sys, "argv", ["zscap", "paper", *command])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out

    assert all(name in said() for name in KNOWN["tables"])
    out = said("matcher", "--presets", "embedded", "--data", "soundscapes", "--clips", "1", "--out", str(tmp_path))
    assert "text tower (embedded-proximal, soundscapes)" in out and "no preset for reference" in out
    assert "(no preset, soundscapes)" in out and "nan" not in out and "n=1" in out
    for table, family, said_of in (("zerocap", "papers", "did you mean 'zeraucap'"), ("zeraucap", "tiny", "'tiny'")):
        with pytest.raises(InvalidOption, match=said_of):
            paper(table, tmp_path, presets=family)
