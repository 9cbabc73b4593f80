"""Notebooks with other parameters than their own, headless; their own are checked by nbval."""

from pathlib import Path

import papermill
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def run(name: str, folder: Path, **parameters):
    notebook = NOTEBOOKS / f"{name}.ipynb"
    unknown = set(parameters) - set(papermill.inspect_notebook(notebook))
    assert not unknown, f"papermill would only log the unknown parameters {unknown}"
    return papermill.execute_notebook(notebook, folder / "out.ipynb", parameters, progress_bar=False)


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.text for output in outputs if output.output_type == "stream")


def test_quickstart_on_another_recording(tmp_path):
    recording = NOTEBOOKS.parent / "data" / "soundscapes" / "dog_bark-3.flac"
    assert "dog_bark-3.flac: " in printed(run("00_quickstart", tmp_path, recording=str(recording)))


def test_a_wrong_recording_says_so(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="no_such_clip"):
        run("00_quickstart", tmp_path, recording="no_such_clip.wav")
