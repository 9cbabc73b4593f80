"""Sweeps: the grid as a graph of jobs, what a failed shard costs, and going on."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "workflow"


def sweep(file: Path, folder: Path, *arguments: str, profile: str = "local") -> subprocess.CompletedProcess:
    """Runs Snakemake as `make sweep` does; its own notes go to `folder`, the results where the parameters say."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", WORKFLOW / "Snakefile", "--profile"]
    command += [WORKFLOW / "profiles" / profile, "--configfile", file, "--directory", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def jobs(done: subprocess.CompletedProcess) -> dict[str, int]:
    """How often each rule would run, from the table that a dry run prints."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)}


@pytest.mark.parametrize(("name", "profile"), [("smoke", "slurm"), ("lambda2", "local")])
def test_parameters_make_a_graph(name, profile, tmp_path):
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    file = WORKFLOW / "params" / f"{name}.yaml"
    grid = yaml.safe_load(file.read_text())
    counts = jobs(sweep(file, tmp_path, "--dry-run", profile=profile))
    cells = len(grid["presets"]) * len(grid["options"]) * len(grid["data"])
    assert counts["cell"] == cells and counts["shard"] == cells * grid["shards"]
    assert counts.get("notebook", 0) == sum(map(len, grid.get("notebooks", {}).values()))


@pytest.mark.parametrize(
    ("wrong", "said"), [({"shards": 0}, "less than the minimum"), ({"options": {"a": {"kapa": 1}}}, "kapa")]
)
def test_wrong_parameters_are_refused_before_anything_runs(wrong, said, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({"out": "out", "presets": ["embedded-proximal"], "data": ["soundscapes"]} | wrong))
    done = sweep(file, tmp_path)
    assert done.returncode and said in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_failed_shard_costs_its_run_alone_and_the_next_sweep_takes_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "nothing fetched"))
    monkeypatch.setenv("ZSCAP_DATA", str(tmp_path))
    file, runs = tmp_path / "grid.yaml", tmp_path / "out" / "embedded-proximal"
    grid = {"out": "out", "presets": ["embedded-proximal"], "data": ["soundscapes"], "clips": 1}
    options = {"one": {"max_new_tokens": 1}, "two": {"max_new_tokens": 2}}
    file.write_text(yaml.safe_dump(grid | {"options": options}))
    broken = runs / "two" / "soundscapes" / "shards" / "1-1" / "captions.jsonl"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"not": "a caption"}\n')
    assert sweep(file, tmp_path).returncode
    log = tmp_path / "out" / "logs" / "embedded-proximal" / "two" / "soundscapes" / "1-1.log"
    assert "not a caption of zscap" in log.read_text()
    table = pd.read_csv(tmp_path / "out" / "table.csv").set_index(["options", "measure"])
    assert table.loc[("one", "matching"), "n"] == 1 and table.loc[["two"], "gap"].str.contains("not run").all()
    assert jobs(sweep(file, tmp_path, "--dry-run")) == {"all": 1, "cell": 1, "shard": 1, "table": 1, "total": 4}
