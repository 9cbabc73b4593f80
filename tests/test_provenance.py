"""Records of what made a result."""

import hashlib
import json
import os
import re
from pathlib import Path

import nbformat
import pytest

from studies.provenance import record, sidecar
from studies.runner import run_notebook
from zscap.folders import ASSETS, REPOSITORY

RESULTS = REPOSITORY / "data" / "results"


@pytest.mark.parametrize("table", sorted(RESULTS.glob("**/*.csv")), ids=lambda path: path.stem)
def test_each_stored_result_says_what_made_it(table):
    made = json.loads(sidecar(table).read_text(encoding="utf-8"))
    assert re.match(r"(zscap|papermill|python) ", made["command"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made["date"]) and re.match(r"[0-9a-f]{40}", made["commit"])
    assert made["versions"]["torch"] and made["weights"]
    assert str(Path.home()) not in sidecar(table).read_text(encoding="utf-8")


def test_no_record_is_left_without_its_result():
    assert all(file.with_suffix(".csv").exists() for file in RESULTS.glob("**/*.json"))


def test_a_record_names_the_weights_and_no_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path / "data"))
    (tmp_path / "own.pt").write_bytes(b"weights")
    given = {"recordings": str(tmp_path / "data" / "esc10"), "out": str(REPOSITORY / "runs"), "steps": 3}
    made = json.loads(record(tmp_path / "table.csv", "zscap run 02", given, [tmp_path]).read_text())
    assert made["parameters"] == {"recordings": "$ZSCAP_DATA/esc10", "out": "runs", "steps": 3}
    assert made["weights"]["own.pt"] == hashlib.sha256(b"weights").hexdigest()
    shipped = (ASSETS / "classifier.safetensors").read_bytes()
    assert made["weights"]["zscap/assets/classifier.safetensors"] == hashlib.sha256(shipped).hexdigest()


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
