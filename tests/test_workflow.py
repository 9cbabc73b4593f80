"""Sweeps: the grid as a graph of jobs, what a failed shard costs, and going on."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "workflow"
SMOKE = yaml.safe_load((WORKFLOW / "params" / "smoke.yaml").read_text())


def sweep(file: Path, folder: Path, *arguments: str, profile: str = "local") -> subprocess.CompletedProcess:
    """Runs Snakemake as `make sweep` does; its own notes go to `folder`, the results where the parameters say."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", WORKFLOW / "Snakefile", "--profile"]
    command += [WORKFLOW / "profiles" / profile, "--configfile", file, "--directory", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def write(file: Path, **parameters) -> Path:
    file.write_text(yaml.safe_dump(parameters))
    return file


@pytest.mark.parametrize("profile", ["local", "slurm"])
@pytest.mark.parametrize("file", sorted((WORKFLOW / "params").glob("*.yaml")), ids=lambda file: file.stem)
def test_parameters_make_a_graph(file, profile, tmp_path):
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    grid = yaml.safe_load(file.read_text())
    done = sweep(file, tmp_path, "--dry-run", profile=profile)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {
        line.split()[0]: int(line.split()[1])
        for line in done.stdout.splitlines()
        if len(line.split()) == 2 and line.split()[1].isdecimal()
    }
    cells = len(grid["presets"]) * len(grid["options"]) * len(grid["data"])
    assert counts["cell"] == cells and counts["shard"] == cells * grid["shards"]
    assert counts.get("notebook", 0) == sum(map(len, grid.get("notebooks", {}).values()))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"option": {"a": {}}}, "'option' was unexpected"),
        ({"shards": 0}, "less than the minimum"),
        ({"options": {"a": {"kapa": 1}}}, "kapa"),
        ({"presets": ["smal"]}, "smal"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(wrong, said, tmp_path):
    file = write(tmp_path / "wrong.yaml", **{key: SMOKE[key] for key in ("out", "presets", "data")} | wrong)
    done = sweep(file, tmp_path)
    assert done.returncode and said in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_failed_shard_costs_its_run_alone_and_the_next_sweep_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSCAP_CACHE", str(tmp_path / "nothing fetched"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    grid = {"out": "out", "presets": ["embedded-proximal"], "data": ["soundscapes"], "clips": 2, "shards": 2}
    file = write(tmp_path / "grid.yaml", **grid, options={"two": {"max_new_tokens": 2}, "three": {"max_new_tokens": 3}})
    runs = tmp_path / "out" / "embedded-proximal"
    broken = runs / "three" / "soundscapes" / "shards" / "2-2" / "captions.jsonl"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"not": "a caption"}\n')
    done = sweep(file, tmp_path)
    assert done.returncode
    log = tmp_path / "out" / "logs" / "embedded-proximal" / "three" / "soundscapes" / "2-2.log"
    assert "not a caption of zscap" in log.read_text()
    table = pd.read_csv(tmp_path / "out" / "table.csv").set_index("options")
    assert table.loc["two", "value"].notna().any() and table.loc[["three"], "gap"].str.contains("not run").all()

    finished = {path: path.stat().st_mtime_ns for path in runs.rglob("summary.json")}
    assert len(finished) == 4  # two shards and their sum, and the other run's first shard
    broken.unlink()
    done = sweep(file, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    table = pd.read_csv(tmp_path / "out" / "table.csv").set_index(["options", "measure"])
    assert table.loc[("three", "matching"), "n"] == 2
