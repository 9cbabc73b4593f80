"""The loop against METHODS 1 written down plainly, and what must not change a caption."""

import pytest
import reference
import tiny
import torch

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


def make_captioner(language_model, **options):
    options = {"num_candidates": 30, "step_size": 1.0, "max_new_tokens": 6, **options}
    return zscap.Captioner(
        language_model,
        matcher=tiny.HashMatcher(),
        classifier=tiny.HashClassifier(),
        options=zscap.SteeringOptions(**options),
        batch_size=4,
    )


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_caption_is_the_same_alone_and_in_any_batch(language_model, beam_size):
    captioner = make_captioner(language_model, beam_size=beam_size, end_boost=4.0)
    sources = [f"clip {number}" for number in range(10)]
    together = captioner(sources)
    assert [caption.source for caption in together] == sources
    assert any(len(caption.tokens) < 6 for caption in together)  # rows that end early leave the batch
    for source, caption in zip(sources, together, strict=True):
        assert captioner(source).tokens == caption.tokens
    backwards = captioner(sources[::-1])
    assert [caption.tokens for caption in backwards] == [caption.tokens for caption in together[::-1]]


def test_each_distinct_text_is_scored_once(language_model):
    captioner = make_captioner(language_model, num_iterations=4)
    captions = captioner(["clip 1", "clip 2", "clip 3"])
    for asked in (captioner.matcher.asked, captioner.classifier.asked):
        final = [caption.text for caption in captions]
        assert len(asked[: -len(final)]) == len(set(asked[: -len(final)])) > 30


def test_absent_networks_give_none(language_model):
    matcher, classifier = tiny.HashMatcher(), tiny.HashClassifier()
    options = zscap.SteeringOptions(num_candidates=20, step_size=1.0, classifier_scale=0.5)
    alone = zscap.Captioner(language_model, options=options)("clip")
    assert (alone.matching, alone.classifier) == (None, None)
    matched = zscap.Captioner(language_model, matcher=matcher, options=options)("clip")
    classified = zscap.Captioner(language_model, classifier=classifier, options=options)("clip")
    assert matched.classifier is None and classified.matching is None
    assert matched.matching == pytest.approx(
        float(matcher.encode_source(["clip"])[0] @ matcher.encode_text([matched.text])[0]), abs=1e-5
    )
    assert classified.classifier == pytest.approx(float(classifier.probability([classified.text])[0]))
    assert classified.classifier > float(classifier.probability([alone.text])[0])


def test_log_likelihood_is_the_language_models_own(language_model):
    caption = make_captioner(language_model)("clip")
    tokenizer = language_model.tokenizer
    prompt = tokenizer(tokenizer.bos_token + "Audio of a")["input_ids"]
    logits = language_model.model(torch.tensor([[*prompt, *caption.tokens]])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.log_softmax(-1)[range(len(caption.tokens)), list(caption.tokens)]
    assert caption.log_likelihood == pytest.approx(chosen.mean().item(), abs=1e-4)


def test_text_without_the_prompt(language_model):
    captioner = make_captioner(language_model, prompt_in_text=False)
    caption = captioner("clip")
    assert caption.text == caption.continuation.strip()
    assert not any(text.startswith("Audio") for text in captioner.matcher.asked)


def test_steps_open_the_loop_up(language_model):
    captioner = make_captioner(language_model)
    steps, caption = captioner.steps("clip"), captioner("clip")
    assert [int(step.after[0].argmax()) for step in steps] == list(caption.tokens)
    first = steps[0]
    assert first.texts == ["Audio of a"] and len(first.iterations) == 3
    assert first.before.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert first.iterations[0].candidates.shape == (1, 30)
    assert list(first.table(k=5).columns) == ["piece", "before", "after", "matching", "classifier"]
    assert first.table(k=5)["after"].is_monotonic_decreasing


class PickyMatcher(tiny.HashMatcher):
    def encode_source(self, sources):
        if "bad" in sources:
            raise zscap.UnreadableSource("bad: no such file; check the path")
        return super().encode_source(sources)


def test_a_bad_source_costs_no_other(language_model):
    captioner = zscap.Captioner(
        language_model, matcher=PickyMatcher(), options=zscap.SteeringOptions(num_candidates=10, max_new_tokens=3)
    )
    one, bad, two = captioner(["one", "bad", "two"])
    assert isinstance(bad.error, zscap.UnreadableSource) and bad.text == "" and bad.source == "bad"
    assert (one.tokens, two.tokens) == (captioner("one").tokens, captioner("two").tokens)
    assert captioner([]) == []
    with pytest.raises(zscap.UnreadableSource, match="no such file"):
        captioner("bad")
