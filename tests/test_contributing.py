"""CONTRIBUTING.md keeps its word: a way of guidance, a matcher and a preset from outside the package."""

import re
import sys
from pathlib import Path

import pytest
import tiny
import torch

import zscap
from zscap import cli

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def shown() -> dict:
    """What the document's Python defines."""
    names = {"__name__": "contributed"}
    for block in blocks("python"):
        exec(compile(block, "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return names


def test_every_answer_is_short():
    answers = re.findall(r"## Where would I add .*?\n\n(.*?)\n```", TEXT, re.DOTALL)
    assert len(answers) == 3 and all(answer.count("\n") <= 6 for answer in answers)
    for path in re.findall(r"`(zscap/[\w/.]+|docs/[\w/.]+)`", TEXT):
        assert (Path(__file__).parent.parent / path).exists(), path


def test_a_fourth_way_of_guidance(shown, tmp_path):
    options = shown["ProductOptions"](num_candidates=30, max_new_tokens=5)
    captioner = zscap.Captioner(tiny.language_model(tmp_path), matcher=tiny.HashMatcher(), options=options)
    sources = [f"clip {number}" for number in range(5)]
    guided, unguided = captioner(sources), captioner(sources, power=0.0)
    assert sum(c.matching for c in guided) > sum(c.matching for c in unguided) + 0.5
    assert [captioner(source).tokens for source in sources] == [caption.tokens for caption in guided]
    (first, *_) = captioner.steps("clip 1")
    (iteration,) = first.iterations
    bent = first.before.scatter_add(1, iteration.candidates, 20 * iteration.matching)
    there = first.after.isfinite()  # all but the end, which no caption begins with
    expected = bent.where(there, -torch.inf).log_softmax(-1)
    assert there.sum() == there.numel() - 1
    torch.testing.assert_close(first.after[there], expected[there])


def test_another_matcher(shown, tmp_path):
    matcher = shown["LetterMatcher"]()
    options = zscap.ProximalOptions(num_candidates=400, kappa=0.05, temperature=0.02)
    captioner = zscap.Captioner(tiny.language_model(tmp_path), matcher=matcher, options=options)
    assert captioner("dddd").text.count("d") > captioner("oooo").text.count("d")


def test_another_preset(shown, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.toml").write_text(blocks("toml")[0])
    monkeypatch.setenv("ZSCAP_PRESETS", str(tmp_path / "mine.toml"))
    assert zscap.presets().loc["mine", "ready"] and "embedded" in zscap.presets().index
    captioner = zscap.load("mine", max_new_tokens=4)
    assert type(captioner.options).__name__ == "ProductOptions" and type(captioner.matcher).__name__ == "LetterMatcher"
    assert captioner("rain").text
    with pytest.raises(SystemExit):
        monkeypatch.setattr(sys, "argv", ["zscap", "options", "mine"])
        cli.main()
    assert "  power = 20.0" in capsys.readouterr().out
    for broken, says in (("[mine", "not a readable toml file"), ("[mine]\ntakes = []", "preset 'mine': no 'guidance'")):
        (tmp_path / "mine.toml").write_text(broken)
        with pytest.raises(zscap.InvalidData, match=says):
            zscap.load("embedded")
