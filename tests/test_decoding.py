"""The loop against METHODS 1 written down plainly, and what must not change a caption."""

import pytest
import reference
import tiny

import zscap

SOURCES = [f"clip {number}" for number in range(5)]
SETTINGS = {
    "released": {},
    "strong": {"step_size": 1.0, "num_iterations": 5, "temperature": 0.05, "classifier_scale": 0.15},
    "repetition": {"repetition_penalty": 1.5, "end_boost": 1.3, "kl_scale": 0.05},
    "forbidden": {"forbidden_tokens": (5, 17, 60, 100), "num_candidates": 16, "step_size": 0.8},
    "losses": {"combine": "losses", "classifier_scale": 0.6, "step_size": 0.8},
}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("gpt2"))


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_captions_are_those_of_the_plain_version(language_model, setting, beam_size):
    options = zscap.SteeringOptions(**{"num_candidates": 40, **SETTINGS[setting]}, beam_size=beam_size)
    matcher, classifier = tiny.HashMatcher(), tiny.HashClassifier()
    captioner = zscap.Captioner(language_model, matcher=matcher, classifier=classifier, options=options)
    captions = captioner(SOURCES)
    parts = language_model.model, language_model.tokenizer, matcher, classifier
    for source, caption in zip(SOURCES, captions, strict=True):
        text, tokens = reference.caption(*parts, source, options)
        assert (caption.text, list(caption.tokens)) == (text, tokens)
    unguided = captioner(SOURCES, num_iterations=0)
    assert [c.text for c in captions] != [c.text for c in unguided]
