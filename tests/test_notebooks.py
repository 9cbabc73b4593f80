"""Notebooks with other parameters than their own, headless; their own are checked by nbval."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
from PIL import Image
from solved import solved

from studies.runner import find, parameters, run_notebook
from zscap import evaluation

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SOUNDSCAPES = NOTEBOOKS.parent / "data" / "soundscapes"


def run(name: str, folder: Path, **parameters):
    notebook = NOTEBOOKS / f"{name}.ipynb"
    unknown = set(parameters) - set(papermill.inspect_notebook(notebook))
    assert not unknown, f"papermill would only log the unknown parameters {unknown}"
    return papermill.execute_notebook(notebook, folder / "out.ipynb", parameters, progress_bar=False)


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.text for output in outputs if output.output_type == "stream")


# Parameters other than the defaults, which are nbval's, and what must hold at the end, in the notebook's own names.
SMOKE = {
    "00_quickstart": (
        {"recording": str(SOUNDSCAPES / "dog_bark-3.flac"), "preset": "embedded"},
        ["caption.matching > ways['language model alone'].matching", "'dog' in caption.text", "len(steps) > 3"],
    ),
    "01_audibility_data": (
        {"seed": 1},
        ["audit.loc[('own', 'first word alone'), 'auc'] < 0.6 < audit['auc'].max()", "made['pair'].nunique() == 24"],
    ),
    "02_train_classifier": (
        {"steps": 300, "seed": 1, "output": "FOLDER/classifier"},
        ["0.65 < measured.auc['own'] < 0.95", "file.is_relative_to('FOLDER')", "difference < 0.01", "len(learnt) == 6"],
    ),
    "03_guided_decoding": (
        {"recording": str(SOUNDSCAPES / "rain-1.flac"), "token": 1, "clips": ["rain-1"]},
        [
            "F <= steered.F.min() + 1e-6",
            "not lower",
            "recording.stem == 'rain-1'",
            "target.sum().isclose(target.new_ones(()))",
        ],
    ),
    "04_guidance_ablation": (
        {"family": "small"},
        [
            "set(audibility['preset']) == {'small-steering'}",
            "captions['classifier'].nunique() == 1 < captions['matcher'].nunique()",
        ],
    ),
    "05_keywords_and_magic": (
        {"clips_per_class": 1},
        ["len(clips) == 10", "table.set_index(by).loc[('chosen on fold 1', 'MAGIC'), 'hit'] >= 0.4"],
    ),
    "06_any_captioner_any_modality": (
        {"clips": ["rain-1.flac", "dog_bark-3.flac"], "steps": 60},
        ["[path.stem for path in recordings] == ['rain-1', 'dog_bark-3']", "0.6 < auc <= 1", "len(seen) == 12"],
    ),
    "07_evaluation": (
        {"preset": "embedded", "data": "FOLDER/three.csv"},
        ["guided['captioned'] == 3", "differences.loc['matching', 'difference'] > 0.1"],
    ),
}  # 09 and 10 are run below, 08 for the papers' tables


def run_and_solve(name: str, given: dict, bounds: list[str], folder: Path) -> None:
    """Run a notebook through `zscap run`'s checks, then its bounds, then the solutions to its exercises."""
    known = parameters(find(name))
    assert all(known[key].default != value for key, value in given.items()), "nbval runs the defaults"
    run_notebook(solved(name, bounds, folder), given, folder / "out.ipynb")


@pytest.mark.parametrize("name", SMOKE)
def test_another_run_keeps_its_bounds_and_solves_the_exercises(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = pd.read_csv(SOUNDSCAPES.parent / "soundscapes.csv").drop_duplicates("file").head(3)
    files = [str(SOUNDSCAPES / f"{Path(file).stem}.flac") for file in clips["file"]]
    pd.DataFrame({"file": files, "caption": "A sound."}).to_csv("three.csv")
    run_and_solve(name, *json.loads(json.dumps(SMOKE[name]).replace("FOLDER", str(tmp_path))), tmp_path)


def test_a_study_of_two_runs_that_are_there(tmp_path):
    for name, weight in (("without", 0.0), ("with", 0.1)):
        evaluation.run("embedded-proximal", "soundscapes", tmp_path / name, clips=4, classifier_scale=weight)
    shutil.copytree(SOUNDSCAPES.parent / "preferences", tmp_path / "preferences")
    folders = {"first": "without", "second": "with", "answers_folder": "preferences"}
    bounds = ["answers['rater'].nunique() == 2", "preferred['share'].between(0.5, 1).all()"]
    given = {name: str(tmp_path / folder) for name, folder in folders.items()}
    run_and_solve("10_preference_study", given, bounds, tmp_path)


@pytest.fixture
def real(tmp_path):
    """A data folder with a recording of a fold."""
    (tmp_path / "esc10" / "rain").mkdir(parents=True)
    (tmp_path / "esc10" / "rain" / "4-1-A.ogg").touch()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("name", "written"), [("93_embedded_results", "results_folder"), ("96_prefix_captioner", "output_folder")]
)
def test_no_encoder_that_learnt_from_the_recordings_takes_a_missing_ones_place(name, written, real, tmp_path):
    with pytest.raises(
        papermill.PapermillExecutionError, match=r"MissingWeights.*92_audio_encoder.*-y 'test_folds: \[4\]'"
    ):
        run(name, tmp_path, data_folder=real, encoder_folder=real, **{written: real})


def test_a_list_of_folds_that_arrives_as_text_is_refused(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="-y 'test_folds"):
        run("92_audio_encoder", tmp_path, test_folds="[4]", output_folder=str(tmp_path))


def test_results_on_rendered_clips_say_what_was_heard(tmp_path):
    here = {"data_folder": str(tmp_path / "none"), "second_language_model": str(tmp_path / "none")}
    notebook = run("93_embedded_results", tmp_path, **here, clips_per_class=1, threads=1, results_folder=str(tmp_path))
    assert "10 clips of 10 classes, rendered by the project" in printed(notebook)
    assert "the judge learnt from own" in printed(notebook)
    table = pd.read_csv(tmp_path / "embedded.csv").set_index("decoding")
    assert table.loc["language model alone", "hit_high"] > 0.2 and "fluency" not in table


def test_small_results_on_rendered_clips(tmp_path):
    here = {"data_folder": str(tmp_path / "none"), "results_folder": str(tmp_path)}
    few = {"clips_per_class": 1, "slow_clips": 1, "timed_clips": 2, "threads": 1}
    notebook = run("99_small_results", tmp_path, **here, **few)
    assert "10 clips of 10 classes, rendered by the project" in printed(notebook)
    hits = pd.read_csv(tmp_path / "small.csv").query("collection == 'all'").set_index("decoding")["hit"]
    assert hits["matcher and classifier"] > hits["language model alone"]
    assert len(pd.read_csv(tmp_path / "small_speed.csv")) == 8


def test_stored_figures_are_what_is_drawn_from_the_stored_results(tmp_path):
    """The bytes are the same where fonts and versions are; elsewhere the pictures are."""
    bounds = ["len(made) > 20", "set(agreement['data']) == {'audiocaps', 'clotho'}"]
    run_and_solve("09_figures", {"figures_folder": str(tmp_path / "figures")}, bounds, tmp_path)
    stored = NOTEBOOKS.parent / "figures"
    drawn = {path.relative_to(tmp_path / "figures") for path in tmp_path.glob("figures/**/*.*")}
    assert drawn == {path.relative_to(stored) for path in stored.glob("**/*.*")} - {Path("demo.png")}
    for path in drawn:
        new, old = tmp_path / "figures" / path, stored / path
        if path.suffix == ".png":
            new, old = (np.asarray(Image.open(file).convert("L"), dtype=float) for file in (new, old))
            assert new.shape == old.shape and np.abs(new - old).mean() < 2, path
        elif path.suffix != ".svg":
            assert new.read_text() == old.read_text(), path


def test_benchmark_at_a_small_size(tmp_path):
    few = {"num_candidates": 8, "num_iterations": 2, "max_new_tokens": 3}
    small = {"paper_scale": 0.1, "released": few, "slow": few, "same": few, "embedded_options": few, "batch": 2}
    counts = {"slow_clips": 2, "identical_clips": 2, "precision_clips": 1, "memory_clips": [1, 2], "threads": 1}
    notebook = run("94_benchmark", tmp_path, **small, **counts, growth={"clips": [1, 2]}, results_folder=str(tmp_path))
    assert printed(notebook).count("identical captions: True") == 2
    identical = pd.read_csv(tmp_path / "identical.csv")
    assert len(identical) == 4 and (identical["identical"] == identical["clips"]).all()
    table = pd.read_csv(tmp_path / "benchmark.csv").set_index(["size", "version"])
    for size in ("embedded", "paper"):
        slow, fast = table.loc[(size, "released")], table.loc[(size, "zscap")]
        assert (slow["texts_encoded"].max() > fast["texts_encoded"]).all()
    assert (pd.read_csv(tmp_path / "memory.csv")["captioned"] == [1, 2]).all()
