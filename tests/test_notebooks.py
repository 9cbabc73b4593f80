"""Notebooks with other parameters than their own, headless; their own are checked by nbval."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from PIL import Image

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


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_defaults_leave_the_stored_results_alone(path):
    defaults = {name: parameter["default"] for name, parameter in papermill.inspect_notebook(path).items()}
    tracked = {name for name, value in defaults.items() if re.match(r"""["'](?:data|figures)/?""", value)}
    assert not tracked, f"a run with its defaults would write into {tracked}"
    code = "".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    assert not re.search(r"""(?:savefig|to_csv)\(repository / ["']""", code)


def test_quickstart_on_another_recording(tmp_path):
    recording = str(SOUNDSCAPES / "dog_bark-3.flac")
    for preset in ("small", "embedded"):
        assert "dog_bark-3.flac: " in printed(run("00_quickstart", tmp_path, recording=recording, preset=preset))


def test_a_wrong_recording_says_so(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="no_such_clip"):
        run("00_quickstart", tmp_path, recording="no_such_clip.wav")


def test_guided_decoding_of_another_token(tmp_path):
    notebook = run(
        "03_guided_decoding", tmp_path, recording=str(SOUNDSCAPES / "rain-1.flac"), token=1, clips=["rain-1"]
    )
    assert printed(notebook) != printed(nbformat.read(NOTEBOOKS / "03_guided_decoding.ipynb", 4))


def test_the_ablation_with_the_other_tables(tmp_path):
    text = "\n".join(
        str(output.get("data", {}).get("text/plain", ""))
        for cell in run("04_guidance_ablation", tmp_path, family="small").cells
        for output in cell.get("outputs", [])
    )
    stored = pd.read_csv(NOTEBOOKS.parent / "data/results/papers/audibility-small.csv").set_index(["row", "measure"])
    assert "{:.2f}".format(stored.loc[("matcher", "classified_audible"), "value"]) in text


def test_any_captioner_on_few_clips(tmp_path):
    notebook = run("06_any_captioner_any_modality", tmp_path, clips=["rain-1.flac", "dog_bark-3.flac"], steps=60)
    assert "2 recordings: rain-1, dog_bark-3" in printed(notebook)


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
    run("09_figures", tmp_path, figures_folder=str(tmp_path / "figures"))
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
