"""Records of what made a result."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import nbformat

from studies import provenance
from studies.provenance import record, sidecar
from studies.runner import run_notebook
from zscap.folders import ASSETS, REPOSITORY

RESULTS = REPOSITORY / "data" / "results"


def test_each_stored_result_says_what_made_it():
    tables = sorted(RESULTS.glob("**/*.csv"))
    assert {sidecar(table) for table in tables} == set(RESULTS.glob("**/*.json"))
    for table in tables:
        made = json.loads(sidecar(table).read_text(encoding="utf-8"))
        assert re.match(r"(zscap|papermill|python) ", made["command"]), table
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", made["date"]) and re.match(r"[0-9a-f]{40}", made["commit"]), table
        assert made["versions"]["torch"] and made["weights"], table
        assert str(Path.home()) not in sidecar(table).read_text(encoding="utf-8")


def test_a_record_names_the_weights_and_no_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path / "data"))
    (tmp_path / "own.pt").write_bytes(b"weights")
    given = {"recordings": str(tmp_path / "data" / "esc10"), "out": str(REPOSITORY / "runs"), "steps": 3}
    made = json.loads(record(tmp_path / "table.csv", "zscap run 02", given, [tmp_path]).read_text())
    assert made["parameters"] == {"recordings": "$ZSCAP_DATA/esc10", "out": "runs", "steps": 3}
    assert made["weights"]["own.pt"] == hashlib.sha256(b"weights").hexdigest()
    shipped = (ASSETS / "classifier.safetensors").read_bytes()
    assert made["weights"]["zscap/assets/classifier.safetensors"] == hashlib.sha256(shipped).hexdigest()


def test_the_commit_is_the_clones_own_not_that_of_a_repository_around_it(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", clone, *who, *words], capture_output=True, text=True, check=True).stdout

    def noted():
        return json.loads(record(tmp_path / "table.csv", "zscap run 02", {}).read_text())["commit"]

    clone = tmp_path.resolve() / "clone"
    installed = clone / "venv" / "site-packages"
    for folder in (clone / "zscap", installed / "zscap"):
        folder.mkdir(parents=True)
        (folder / "module.py").touch()
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    head = git("rev-parse", "HEAD").strip()
    monkeypatch.setattr(provenance, "REPOSITORY", clone)
    assert noted() == head
    (clone / "zscap" / "module.py").write_text("changed = 1\n")
    assert noted() == head + "+"
    monkeypatch.setattr(provenance, "REPOSITORY", installed)
    assert noted() is None


def test_a_run_records_the_tables_that_it_wrote_and_no_others(tmp_path):
    source = 'results_folder = ""  # where the table goes\nsteps = 1  # 1 or more'
    write = "from pathlib import Path\n_ = (Path(results_folder) / 'new.csv').write_text('a\\n1\\n')"
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(write),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "77_small.ipynb")
    (tmp_path / "old.csv").write_text("a\n2\n")
    os.utime(tmp_path / "old.csv", (0, 0))
    run_notebook(tmp_path / "77_small.ipynb", {"results_folder": str(tmp_path), "steps": 5}, tmp_path / "out.ipynb")
    assert not (tmp_path / "old.json").exists()
    made = json.loads((tmp_path / "new.json").read_text())
    assert made["command"].startswith("zscap run 77 -p results_folder ") and made["command"].endswith("-p steps 5")
    assert made["parameters"]["steps"] == 5
