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

from studies.runner import FOLDER, NotebookFailed, find, parameters, run_notebook
from zscap import evaluation

DATA = FOLDER.parent / "data"
FEW = {"num_candidates": 8, "num_iterations": 2, "max_new_tokens": 3}

# Parameters other than the defaults, which are nbval's, and what must hold at the end, in the notebook's own names.
RUNS = {
    "00_quickstart": (
        {"recording": str(DATA / "sounds" / "thunderstorm.flac")},
        [
            "'hunder' in caption.text",
            "caption == drafts[0] and len(drafts) == 2",
            "len(captions) == 14",
            "len(steps) > 3",
        ],
    ),
    "01_audibility_data": (
        {"seed": 1},
        ["audit.loc[('own', 'first word alone'), 'auc'] < 0.6 < audit['auc'].max()", "made['pair'].nunique() == 24"],
    ),
    "02_train_classifier": (
        {"steps": 150, "seed": 1, "output": "FOLDER/classifier"},
        ["0.65 < measured.auc['own'] < 0.95", "file.is_relative_to('FOLDER')", "difference < 0.01", "len(learnt) == 6"],
    ),
    "03_guided_decoding": (
        {"recording": str(DATA / "soundscapes" / "rain-1.flac"), "token": 1, "clips": ["rain-1"]},
        ["F <= steered.F.min() + 1e-6", "not lower", "recording.stem == 'rain-1'", "(target.sum() - 1).abs() < 1e-5"],
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
        {"preset": "small-steering", "data": "FOLDER/three.csv"},
        ["guided['captioned'] == 3", "differences.loc['matching', 'difference'] > 0.1"],
    ),
    "10_preference_study": (
        {"first": "FOLDER/without", "second": "FOLDER/with", "answers_folder": "FOLDER/preferences"},
        ["answers['rater'].nunique() == 2", "preferred['share'].between(0.5, 1).all()"],
    ),
    "11_events": (
        {"clips": ["dog", "sheep"], "gap": 0.5, "levels": [6], "guided": 2},
        [
            "events['name'].str.contains('Dog').any() and events['end'].max() < len(scene) / rate + 0.1",
            "len(said) == 2 and any('sheep' in row[-1].lower() or 'dog' in row[-1].lower() for row in said)",
        ],
    ),
    "93_embedded_results": (
        {"data_folder": "FOLDER", "clips_per_class": 1, "timed_clips": 2, "results_folder": "FOLDER"},
        [
            "len(clips) == 10 and 'rendered by the project' in heard and list(judge.sources) == ['own']",
            "table.set_index('decoding').loc['language model alone', 'hit_high'] > 0.2",
        ],
    ),
    "94_benchmark": (
        {"data_folder": "FOLDER", "results_folder": "FOLDER", "paper_scale": 0.1, "growth": {"clips": [1, 2]}}
        | dict.fromkeys(("released", "slow", "same", "embedded_options"), FEW)
        | {"batch": 2, "identical_clips": 2, "precision_clips": 1, "memory_clips": [1], "threads": 1},
        [
            "len(identical) == 4 and (identical['identical'] == identical['clips']).all()",
            "all(a.tokens == b.tokens for a, b in zip(fast_captions, slow_captions, strict=True))",
            "table.groupby(['size', 'version'])['texts_encoded'].max().unstack().eval('released > zscap').all()",
            "list(memory['captioned']) == [1]",
        ],
    ),
    "99_small_results": (
        {"data_folder": "FOLDER", "results_folder": "FOLDER", "captioned_clips": 1}
        | {"slow_clips": 1, "timed_clips": 2, "timed_threads": [2]},
        [
            "len(clips) == 10 and 'rendered by the project' in heard and len(speed) == 4",
            "set(captions['decoding']) == {*baselines, *ways} and guided['hit'].mean() >= 0.4",
        ],
    ),
}  # 09 is run below, 08 for the papers' tables


def run(name: str, given: dict, bounds: list[str], folder: Path) -> None:
    """Run a notebook as `zscap run` does, then its bounds, then the solutions to its exercises."""
    known = parameters(find(name))
    assert all(known[key].default != value for key, value in given.items()), "nbval runs the defaults"
    run_notebook(solved(name, bounds, folder), given, folder / "out.ipynb")


@pytest.mark.parametrize("name", RUNS)
def test_another_run_keeps_its_bounds_and_solves_the_exercises(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "07_evaluation":
        clips = [str(DATA / "soundscapes" / f"{stem}.flac") for stem in ("rain-1", "dog_bark-3", "rooster-2")]
        pd.DataFrame({"file": clips, "caption": "A sound."}).to_csv("three.csv")
    if name == "10_preference_study":
        shutil.copytree(DATA / "preferences", "preferences")
        for folder, weight in (("without", 0.0), ("with", 0.1)):
            evaluation.run("embedded-proximal", "soundscapes", folder, clips=4, classifier_scale=weight)
    given, bounds = json.loads(json.dumps(RUNS[name]).replace("FOLDER", str(tmp_path)))
    run(name, given, bounds, tmp_path)


@pytest.mark.parametrize(
    ("name", "written"), [("93_embedded_results", "results_folder"), ("96_prefix_captioner", "output_folder")]
)
def test_no_encoder_that_learnt_from_the_recordings_takes_a_missing_ones_place(name, written, tmp_path):
    (tmp_path / "esc10" / "rain").mkdir(parents=True)
    (tmp_path / "esc10" / "rain" / "4-1-A.ogg").touch()
    given = dict.fromkeys(("data_folder", "encoder_folder", written), str(tmp_path))
    with pytest.raises(NotebookFailed, match=r"MissingWeights: .*92_audio_encoder.*-y 'test_folds: \[4\]'"):
        run_notebook(name, given, tmp_path / "out.ipynb")


def test_a_list_of_folds_that_papermill_passes_as_text_is_refused(tmp_path):
    given = {"test_folds": "[4]", "output_folder": str(tmp_path)}
    with pytest.raises(papermill.PapermillExecutionError, match="-y 'test_folds"):
        papermill.execute_notebook(find("92"), tmp_path / "out.ipynb", given, progress_bar=False)


def test_stored_figures_are_what_is_drawn_from_the_stored_results(tmp_path):
    """The bytes are the same where fonts and versions are; elsewhere the pictures are."""
    bounds = ["len(made) > 20", "set(agreement['data']) == {'audiocaps', 'clotho'}"]
    made, stored = tmp_path / "figures", FOLDER.parent / "figures"
    run("09_figures", {"figures_folder": str(made)}, bounds, tmp_path)
    drawn = {path.relative_to(made) for path in made.glob("**/*.*")}
    assert drawn == {path.relative_to(stored) for path in stored.glob("**/*.*")} - {Path("demo.png")}
    for path in drawn:
        if path.suffix == ".png":
            new, old = (np.asarray(Image.open(each / path).convert("L"), dtype=float) for each in (made, stored))
            assert new.shape == old.shape and np.abs(new - old).mean() < 2, path
        elif path.suffix != ".svg":
            assert (made / path).read_text() == (stored / path).read_text(), path
