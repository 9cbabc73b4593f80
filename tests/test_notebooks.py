"""Notebooks with other parameters than their own, headless; their own are checked by nbval."""

from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

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


def test_quickstart_on_another_recording(tmp_path):
    recording = str(SOUNDSCAPES / "dog_bark-3.flac")
    assert "dog_bark-3.flac: " in printed(run("00_quickstart", tmp_path, recording=recording))


def test_a_wrong_recording_says_so(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="no_such_clip"):
        run("00_quickstart", tmp_path, recording="no_such_clip.wav")


def test_guided_decoding_of_another_token(tmp_path):
    notebook = run(
        "03_guided_decoding", tmp_path, recording=str(SOUNDSCAPES / "rain-1.flac"), token=1, clips=["rain-1"]
    )
    assert printed(notebook) != printed(nbformat.read(NOTEBOOKS / "03_guided_decoding.ipynb", 4))


def test_any_captioner_on_few_clips(tmp_path):
    notebook = run("06_any_captioner_any_modality", tmp_path, clips=["rain-1.flac", "dog_bark-3.flac"], steps=60)
    assert "2 recordings: rain-1, dog_bark-3" in printed(notebook)


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
