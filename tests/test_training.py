import io
import re
from pathlib import Path

import pandas as pd
import papermill
import pytest
import torch
from torch import nn

from studies.training import fit
from zscap.errors import InvalidData, InvalidOption, UnwritableOutput

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SMOKE = {
    "90_language_model": {
        "vocabulary": 400, "layers": 1, "width": 32, "heads": 2, "steps": 4, "batch": 8, "every": 2,
        "second_steps": 2, "second_every": 2, "validation_sentences": 8,
    },
    "91_text_tower": {
        "teacher": "tokens", "pairs": 40, "partial": 200, "partial_captions": 40, "held_out": 40,
        "token_width": 16, "width": 32, "layers": 1, "hidden": 32, "steps": 4, "batch": 16, "every": 2,
    },
    "98_small_audio_encoder": {
        "texts": "random", "steps": 4, "pairs": 20, "triples": 4, "take_every": 6, "mixtures": 6, "branch_steps": 5,
    },
    "92_audio_encoder": {
        "tower_file": "", "channels": [4, 8, 8], "pairs": 40, "negatives": 60, "steps": 4, "batch": 8,
        "every": 2, "take_every": 8, "test_folds": [4],
    },
    "95_scenes": {
        "channels": [4, 8], "pictures": 64, "clips": 64, "pairs": 20, "negatives": 40, "fragments": 60, "steps": 4,
        "batch": 8, "every": 4, "choose_scenes": 1, "report_scenes": 2, "trials": {}, "results_folder": "",
        "options": {"prompt": "a photo of", "max_new_tokens": 2, "num_candidates": 8},
    },
    "96_prefix_captioner": {
        "encoder_folder": "", "second_language_model": "none", "clips_per_class": 1, "length": 2, "hidden": 16,
        "steps": 4, "batch": 8, "every": 2, "results_folder": "", "steering": {"num_iterations": 2},
        "common": {"prompt": "<|endoftext|>", "max_new_tokens": 2, "combine": "losses", "num_candidates": 8},
    },
}  # fmt: skip


def task(dropout=0.0, width=3):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))

    def loss(step):
        x = torch.randn(16, width)
        return (model(x) - x.sum(-1, keepdim=True)).square().mean()

    return model, loss


def cut_off(loss, at=25):
    def interrupted(step):
        if step == at:
            raise KeyboardInterrupt
        return loss(step)

    return interrupted


SETTINGS = {"steps": 40, "learning_rate": 0.01, "every": 10}


def test_fit_learns_and_figures_become_columns():
    model, loss = task()
    settings = {"steps": 125, "learning_rate": 0.02, "every": 50}
    history = fit(model, loss, **settings, evaluate=lambda: {"training": float(model.training)})
    assert history["step"].tolist() == [50, 100, 125]
    assert history["loss"].iloc[-1] < 0.1 * history["loss"].iloc[0]
    assert history["training"].eq(0).all() and not model.training


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_run_that_was_cut_off_goes_on_exactly(tmp_path, average):
    model, loss = task(dropout=0.2)
    whole = fit(model, loss, **SETTINGS, average=average)
    cut, loss = task(dropout=0.2)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, cut_off(loss), **SETTINGS, average=average, checkpoint=tmp_path / "run.pt")
    again, loss = task(dropout=0.2)
    resumed = fit(again, loss, **SETTINGS, average=average, checkpoint=tmp_path / "run.pt")
    pd.testing.assert_frame_equal(resumed, whole)
    torch.testing.assert_close(again.state_dict(), model.state_dict())
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    other, loss = task(dropout=0.2)
    fit(other, loss, **SETTINGS, average=0.9 - average)
    assert not torch.allclose(other[0].weight, model[0].weight)  # averaged weights are not the last ones


def test_a_checkpoint_of_another_recipe_or_model_is_refused(tmp_path):
    settings = {**SETTINGS, "steps": 1, "checkpoint": tmp_path / "run.pt"}
    fit(*task(), **settings)
    for change, width, message in (
        ({"learning_rate": 0.02}, 3, "learning_rate=0.01 instead of 0.02"),
        ({"steps": 30}, 3, "steps=1 instead of 30"),
        ({"seed": 1}, 3, "seed=0 instead of 1"),
        ({"weight_decay": 0.1}, 3, "weight_decay=0.01 instead of 0.1"),
        ({"average": 0.9}, 3, "average=0.0 instead of 0.9"),
        ({"recipe": {"batch_size": 32}}, 3, "batch_size=None instead of 32"),
        ({}, 4, r"0\.weight=\(8, 3\) instead of \(8, 4\)"),
    ):
        model, loss = task(width=width)
        with pytest.raises(InvalidData, match=rf"run\.pt is of a run with {message}: delete it or name another"):
            fit(model, loss, **settings | change)
        assert torch.equal(model[0].weight, task(width=width)[0][0].weight)  # untouched


def test_what_is_no_checkpoint_is_refused_and_left(tmp_path):
    model, loss = task()
    file, weights = tmp_path / "run.pt", io.BytesIO()
    torch.save(model.state_dict(), weights)
    fit(model, loss, **SETTINGS, checkpoint=file)
    for content in (file.read_bytes()[:3000], b"no checkpoint\n", weights.getvalue()):
        file.write_bytes(content)
        with pytest.raises(InvalidData, match=r"run\.pt is no whole checkpoint .*delete it or name another") as error:
            fit(model, loss, **SETTINGS, checkpoint=file)
        assert "\n" not in str(error.value) and file.read_bytes() == content


def test_the_best_weights_are_kept_in_the_one_checkpoint(tmp_path):
    figures, weights = iter([0.6, 0.9, 0.7, 0.8]), []
    settings = {**SETTINGS, "keep_best": "auc", "checkpoint": tmp_path / "run.pt"}

    def evaluate():
        weights.append(model[0].weight.clone())
        return {"auc": next(figures)}

    model, loss = task()
    with pytest.raises(KeyboardInterrupt):
        fit(model, cut_off(loss), evaluate=evaluate, **settings)
    model, loss = task()
    fit(model, loss, evaluate=evaluate, **settings)
    torch.testing.assert_close(model[0].weight, weights[1])
    assert not torch.allclose(weights[1], weights[-1])
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.parametrize(("at", "factor"), [(0, "nan"), (12, "inf"), (39, "nan")])
def test_a_loss_that_is_no_number_ends_the_training(at, factor):
    model, loss = task()
    with pytest.raises(InvalidOption, match=rf"learning_rate=0\.01: the loss, {factor}, .* at step {at + 1}; lower it"):
        fit(model, lambda step: loss(step) * (float(factor) if step == at else 1), **SETTINGS)


def test_weights_that_are_no_numbers_end_the_training():
    model, _ = task()
    with pytest.raises(InvalidOption, match="a weight is no finite number at step 1"):  # of a finite loss
        fit(model, lambda step: (model(torch.zeros(1, 3)).sum() * 0).sqrt(), steps=1, learning_rate=0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [("every", 0), ("steps", 1.5), *(("learning_rate", value) for value in (0, float("nan"), 1e300, "x"))],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(InvalidOption, match=re.escape(f"{name}={value!r}: must be at least")):
        fit(*task(), **SETTINGS | {name: value})


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "run.pt.part").mkdir()
    for place in (tmp_path / "file" / "run.pt", tmp_path / "run.pt"):
        with pytest.raises(UnwritableOutput, match=r"run\.pt can't be written .*: name another"):
            fit(*task(), **SETTINGS, checkpoint=place)


@pytest.mark.parametrize("name", SMOKE)
def test_recipe_runs_at_a_tiny_size_on_the_repository_alone(name, tmp_path, monkeypatch):
    monkeypatch.delenv("ZSCAP_DATA", raising=False)
    source = NOTEBOOKS / f"{name}.ipynb"
    known = papermill.inspect_notebook(source)
    parameters = {**SMOKE[name], "output_folder": str(tmp_path), "threads": 1}
    monkeypatch.chdir(tmp_path)
    assert set(parameters) <= set(known)
    papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters, progress_bar=False)
    files = {"90": "model.safetensors", "91": "tower.pt", "95": "scenes.safetensors", "96": "prefix_mapper.safetensors"}
    produced = files.get(name[:2], "without_4.pt")
    assert (tmp_path / produced).stat().st_size > 10_000
