"""Every kind of causal language model, through the real from_pretrained, and texts of its tokens."""

import pytest
import tiny
import torch

import zscap
from zscap.language_models.causal import State


@pytest.fixture(scope="module", params=sorted(tiny.KINDS))
def language_model(request, tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp(request.param), request.param)


def test_cached_steps_equal_a_full_forward(language_model):
    state = State.joined([language_model.begin("Audio of a")] * 2)
    with torch.no_grad():
        for token in (7, 30, 11):
            logits, cache = language_model.forward(state)
            full = language_model.model(state.tokens).logits[:, -1]
            torch.testing.assert_close(logits, full, atol=1e-4, rtol=1e-4)
            state = state.extend(torch.tensor([1, 0]), torch.tensor([token, token + 1]), cache)
    assert state.tokens.shape[0] == 2 and state.tokens[0, -1] == 11


def test_pieces_add_up_to_the_text(language_model):
    ids = language_model.tokenizer("Audio of a dog barking at a cat", add_special_tokens=False)["input_ids"]
    text = language_model.text(ids[:4])
    for token in ids[4:]:
        text += language_model.pieces[token]
    assert text.strip() == "Audio of a dog barking at a cat"
    prompt = "Audio of a"
    start = len(language_model.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert prompt + language_model.continuation(prompt, ids[start:]) == "Audio of a dog barking at a cat"


def test_captions_from_every_kind(language_model):
    options = zscap.SteeringOptions(num_candidates=20, beam_size=2, max_new_tokens=4, step_size=1.0)
    captioner = zscap.Captioner(
        language_model, matcher=tiny.HashMatcher(), classifier=tiny.HashClassifier(), options=options
    )
    captions = captioner(["one", "two", "three"])
    for caption in captions:
        assert caption.text == "Audio of a" + caption.continuation
        assert 1 <= len(caption.tokens) <= 4 and caption.log_likelihood < 0
    assert captions != captioner(["one", "two", "three"], num_iterations=0)


def test_prompts_that_do_not_fit(language_model):
    with pytest.raises(zscap.InvalidOption, match=r"max_new_tokens=100 .* takes at most"):
        zscap.Captioner(language_model)("clip", max_new_tokens=100)
    with pytest.raises(zscap.InvalidOption, match="takes at most"):
        language_model.begin("Audio of a dog and " * 30)
    if language_model.tokenizer.bos_token is None:
        with pytest.raises(zscap.InvalidOption, match="steering needs two or more"):
            language_model.begin(".")
